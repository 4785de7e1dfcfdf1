/* body.h: finds the end of a request's body, and discards it.
 *
 * Source: RFC 9112, 7.1 (chunked). As strict as request.h, and for the same reason. Pure functions
 * on borrowed bytes. Threads: any. */
#ifndef BERTH_PLUGINS_HTTP_BODY_H
#define BERTH_PLUGINS_HTTP_BODY_H

#include <stdbool.h>
#include <stdint.h>

enum body_state {
    BODY_DATA, /* `left` bytes of it follow */
    BODY_DATA_CR,
    BODY_DATA_LF,
    BODY_SIZE_FIRST, /* the first digit of a chunk's size */
    BODY_SIZE,
    BODY_SIZE_BLANK, /* whitespace between a size or a value and the next ";" */
    BODY_EXTENSION,  /* after the ";" */
    BODY_EXTENSION_NAME,
    BODY_EXTENSION_BLANK, /* between its name and the "=" or the next ";" */
    BODY_VALUE,           /* after the "=" */
    BODY_VALUE_TOKEN,
    BODY_VALUE_QUOTED,
    BODY_VALUE_ESCAPED, /* after a backslash in quotes */
    BODY_VALUE_END,     /* after the quotes */
    BODY_SIZE_LF,
    BODY_TRAILER, /* the first byte of a line after the last chunk */
    BODY_TRAILER_NAME,
    BODY_TRAILER_VALUE,
    BODY_TRAILER_LF,
    BODY_END_LF,
    BODY_DONE,
};

struct body_drain {
    uint8_t state; /* enum body_state */
    bool chunked;
    uint64_t left; /* of the chunk, or of all */
    uint64_t total;
    uint64_t max;      /* of `total` */
    uint32_t overhead; /* bytes so far of extensions, trailers and leading zeros of sizes */
};

void body_begin(struct body_drain *drain, bool chunked, uint64_t length, uint64_t max);

/* Consumes bytes of the body and returns their number; drain->state is BODY_DONE at the end.
 * *status is 0, or 400 or 413: then the position of the next request is unknown. */
uint32_t body_take(struct body_drain *drain, const uint8_t *bytes, uint32_t size, uint32_t *status);

#endif
