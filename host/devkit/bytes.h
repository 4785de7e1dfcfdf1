/* bytes.h: a growing byte buffer. Owner: the embedding structure. */
#ifndef BERTH_HOST_DEVKIT_BYTES_H
#define BERTH_HOST_DEVKIT_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macros.h"

struct bytes {
    uint8_t *data; /* NULL while nothing was added; NUL-terminated */
    size_t size;
    size_t capacity;
};

bool bytes_add(struct bytes *bytes, const void *data, size_t size);
bool bytes_add_text(struct bytes *bytes, const char *text);
bool bytes_add_format(struct bytes *bytes, const char *format, ...) BERTH_PRINTF(2, 3);
void bytes_drop_front(struct bytes *bytes, size_t size);
void bytes_free(struct bytes *bytes);

/* Escapes \r \n \t \\ and unprintable bytes (\xNN). `braces`: {*} is escaped too. */
bool bytes_add_escaped(struct bytes *bytes, const uint8_t *data, size_t size, bool braces);

/* Text as a JSON string, with its quotes. */
bool bytes_add_json(struct bytes *bytes, const char *text);

#endif
