/* text.h: tokens and lists in the fields of HTTP. Source: RFC 9110, 5.6.
 *
 * Pure functions on borrowed bytes. Threads: any. */
#ifndef BERTH_PLUGINS_HTTP_TEXT_H
#define BERTH_PLUGINS_HTTP_TEXT_H

#include <stdbool.h>
#include <stdint.h>

struct text {
    const char *bytes; /* not terminated; NULL: not there */
    uint32_t size;
};

/* Compares case-insensitively. `word` is in lower case. */
bool text_is(struct text text, const char *word);
struct text text_trim(struct text text);
/* The next member of a comma-separated list (5.6.1) without quoted strings, without surrounding
 * whitespace; false: none left. `list` is advanced. */
bool text_next(struct text *list, struct text *member);
/* The text before the delimiter; `rest` is moved past it. False: no delimiter. */
bool text_until(struct text *rest, char delimiter, struct text *part);

bool text_is_token(struct text text); /* 5.6.2 */
bool char_is_token(uint8_t c);
bool char_is_blank(uint8_t c);
int char_to_digit(uint8_t c); /* hexadecimal; -1: none */

#endif
