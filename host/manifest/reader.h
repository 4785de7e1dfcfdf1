/* reader.h: the words of JSON (RFC 8259), strictly: spaces, strings, numbers, literals.
 *
 * Each function reads one word at the reader's place and moves behind it. False: what stands there
 * is wrong, and the reader says where and why. Owner: the caller. Threads: any. */
#ifndef BERTH_HOST_MANIFEST_READER_H
#define BERTH_HOST_MANIFEST_READER_H

#include "base/macros.h"
#include "manifest/places.h"

struct reader {
    const unsigned char *at;
    const unsigned char *end;
    struct place here;
    struct place wrong_at; /* set by what returns false */
    char wrong[192];
};

/* The byte that stands here; -1 at the end. */
int reader_peek(const struct reader *reader);

/* Moves over one character of `size` bytes. */
void reader_step(struct reader *reader, size_t size);

void reader_skip_space(struct reader *reader);
bool reader_literal(struct reader *reader, const char *word);
bool reader_number(struct reader *reader);
bool reader_string(struct reader *reader); /* quotes included */

/* What reader_string() has read, quotes included, without its escapes. `decoded` has room for
 * `size` bytes. Returns how many there are. */
size_t reader_decode(const char *text, size_t size, char *decoded);

/* Both return false. */
bool reader_fail(struct reader *reader, struct place place, const char *format, ...)
    BERTH_PRINTF(3, 4);
bool reader_unexpected(struct reader *reader, const char *expected);

#endif
