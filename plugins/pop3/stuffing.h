/* stuffing.h: a message's bytes as POP3 sends them: every line ends in CR LF, and one that begins
 * with a dot gets another in front. Pure. Source: RFC 1939, 3. */
#ifndef BERTH_PLUGINS_POP3_STUFFING_H
#define BERTH_PLUGINS_POP3_STUFFING_H

#include <stdbool.h>
#include <stdint.h>

#define STUFFING_ALL_LINES UINT32_MAX

struct stuffing {
    uint32_t lines_left; /* of the body */
    bool in_line;        /* something of the line has been sent */
    bool after_cr;
    bool has_content; /* the line has more than its end */
    bool in_body;
    bool is_complete; /* all lines that were wanted have come: nothing more is sent */
};

/* For the header and so many lines of the body. */
void stuffing_init(struct stuffing *stuffing, uint32_t body_lines);

/* Writes what `size` bytes of the message become: at most twice as many. Returns how many. */
uint32_t stuffing_add(struct stuffing *stuffing, const uint8_t *from, uint32_t size, uint8_t *to);

enum { STUFFING_END_MAX = 5 };

/* Writes the end: that of the last line, where the message lacks it, and the dot. */
uint32_t stuffing_end(struct stuffing *stuffing, uint8_t to[STUFFING_END_MAX]);

/* What a message counts in STAT and LIST: its bytes with each line ended by CR LF, and without the
 * dots that are only put in front. */
struct octets {
    uint64_t count;
    bool in_line;
    bool after_cr;
};

void octets_add(struct octets *octets, const uint8_t *from, uint32_t size);
uint64_t octets_end(const struct octets *octets);

#endif
