/* inline.h: the words of an inline command, as typed into a terminal.
 *
 * Words are separated by spaces. "…" takes \n, \r, \t, \b, \a, \xHH and \ before any other
 * character; '…' takes \' alone. Threads: any. */
#ifndef BERTH_EXAMPLES_KV_INLINE_H
#define BERTH_EXAMPLES_KV_INLINE_H

#include <stdint.h>

enum inline_state { INLINE_WORD, INLINE_END, INLINE_UNBALANCED };

/* The next word of the line from *at on, which moves past it. `word` has room for the line. */
enum inline_state inline_next(const uint8_t *line, uint32_t size, uint32_t *at, uint8_t *word,
                              uint32_t *length);

#endif
