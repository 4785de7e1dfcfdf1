/* text.h: text of any origin, made safe for a log, a terminal and JSON.
 *
 * Text from a client, a file or a manifest may contain anything: escape sequences, control
 * characters, bytes that are not UTF-8. None of these is written to a terminal or a log unchanged.
 * Control characters (C0, DEL and C1), line separators and characters that change the direction of
 * text become \uXXXX, and each ill-formed sequence becomes U+FFFD. The result is valid UTF-8 and is
 * one line. Only quotes and backslashes need escaping for the inside of a JSON string.
 *
 * Threads: any. Nothing allocates or locks. */
#ifndef BERTH_HOST_BASE_TEXT_H
#define BERTH_HOST_BASE_TEXT_H

#include <stddef.h>
#include <stdio.h>

#include "base/macros.h"

/* How one character is written. */
struct text_piece {
    unsigned size; /* in bytes, not terminated */
    char bytes[8];
};

/* The first character of `size` bytes, which is at least 1. Returns how many of them it takes. */
size_t text_next(const char *text, size_t size, struct text_piece *piece);

/* How many of the bytes are whole characters: less than `size` where the last one was cut off. */
size_t text_whole(const char *text, size_t size);

/* The safe form into `out`, terminated, and cut after a whole piece to fit. Returns `out`, so that
 * it can be an argument of a printf(). */
const char *text_safe(char *out, size_t room, const char *text);

/* Writes the safe form to the stream. */
void text_print(FILE *stream, const char *text);

/* "berth: TEXT" as a line on standard error. */
void text_print_error(const char *text);

/* Appends to the text of *used characters, cut to fit, and adds the appended length to *used. For
 * lines that are built piece by piece. `size` is at least 1. */
void text_append(char *text, size_t size, size_t *used, const char *format, ...) BERTH_PRINTF(4, 5);

/* The same for text of several lines: newlines stay. */
void text_print_lines(FILE *stream, const char *text);

#endif
