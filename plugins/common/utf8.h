/* utf8.h: decodes characters of UTF-8 (RFC 3629).
 *
 * For the plugins of this folder; compiled into each of those that read text. Threads: any. */
#ifndef BERTH_PLUGINS_COMMON_UTF8_H
#define BERTH_PLUGINS_COMMON_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decodes the first character. Returns its length, 1 to 4; 0: not well-formed. Overlong forms,
 * surrogates and values above U+10FFFF are not well-formed. */
uint32_t utf8_read(const uint8_t *bytes, size_t size, uint32_t *character);

/* C0, DEL and C1: these move a cursor, end a line or begin an escape sequence. */
bool utf8_is_control(uint32_t character);

/* Characters that end a line (U+2028, U+2029) or change the order in which text is shown (U+202A to
 * U+202E, U+2066 to U+2069). The marks that Arabic and Hebrew are written with (U+200E, U+200F,
 * U+061C) are not included: they affect only the adjacent text. */
bool utf8_is_layout(uint32_t character);

/* Well-formed characters only, and none of them a control character. */
bool utf8_is_text(const uint8_t *bytes, size_t size);

#endif
