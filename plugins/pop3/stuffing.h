/* stuffing.h: a message's bytes as POP3 sends them: every line ends in CR LF, and a dot is
 * prepended to a line that begins with a dot. Pure. Source: RFC 1939, 3. */
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
    bool is_complete; /* all requested lines are complete: nothing more is sent */
};

/* For the header and so many lines of the body. */
void stuffing_init(struct stuffing *stuffing, uint32_t body_lines);

/* Writes `size` bytes of the message in this form: at most twice as many. Returns the number. */
uint32_t stuffing_add(struct stuffing *stuffing, const uint8_t *from, uint32_t size, uint8_t *to);

enum { STUFFING_END_MAX = 5 };

/* Writes the last line's end, if the message lacks it, and the final dot. */
uint32_t stuffing_end(struct stuffing *stuffing, uint8_t to[STUFFING_END_MAX]);

/* The size of a message in STAT and LIST: its bytes with each line ended by CR LF, without the
 * prepended dots. */
struct octets {
    uint64_t count;
    bool in_line;
    bool after_cr;
};

void octets_add(struct octets *octets, const uint8_t *from, uint32_t size);
uint64_t octets_end(const struct octets *octets);

#endif
