/* utf8.h: what of some bytes is a character of UTF-8 (RFC 3629).
 *
 * For the plugins of this folder; compiled into each of those that read text. Threads: any. */
#ifndef BERTH_PLUGINS_COMMON_UTF8_H
#define BERTH_PLUGINS_COMMON_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The length of the well-formed character at the front, 1 to 4, and the character; 0: there is
 * none. Overlong forms, surrogates and what is beyond U+10FFFF are not well formed. */
uint32_t utf8_read(const uint8_t *bytes, size_t size, uint32_t *character);

/* C0, DEL and C1: what moves a cursor, ends a line or begins an escape sequence. */
bool utf8_is_control(uint32_t character);

/* What ends a line (U+2028, U+2029) or shows text in another order than it has (U+202A to U+202E,
 * U+2066 to U+2069), for who shows it. The marks that Arabic and Hebrew are written with
 * (U+200E, U+200F, U+061C) are none: they reach no further than the text beside them. */
bool utf8_is_layout(uint32_t character);

/* Well-formed characters only, and none of them a control character. */
bool utf8_is_text(const uint8_t *bytes, size_t size);

#endif
