/* output.h: gathers answers of RESP2, so that many of them are one send.
 *
 * One for each worker, used by one call of `received` at a time: small answers are copied into it,
 * large values are references. Nothing is sent while it is written, which may be under a lock.
 * Threads: its worker's. */
#ifndef BERTH_EXAMPLES_KV_OUTPUT_H
#define BERTH_EXAMPLES_KV_OUTPUT_H

#include <berth/berth.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/format.h"

struct value;

/* A large value between the bytes. */
struct output_part {
    size_t at; /* bytes before it */
    struct berth_slice slice;
};

/* All zero to begin with. */
struct output {
    uint8_t *bytes;
    size_t size;
    size_t capacity;
    struct output_part *parts;
    uint32_t part_count;
    uint32_t part_capacity;
    bool has_failed; /* there was no memory: the connection must end */
};

void output_fini(struct output *output);

void output_bytes(struct output *output, const void *bytes, size_t size);
void output_text(struct output *output, const char *text); /* as it is: "+OK\r\n" */
PLUGIN_PRINTF(2, 3) void output_error(struct output *output, const char *format, ...);
void output_integer(struct output *output, int64_t number);
void output_array(struct output *output, size_t count);
void output_bulk(struct output *output, const void *bytes, size_t size);
void output_value(struct output *output, const struct berth_host *host, const struct value *value);
void output_null(struct output *output);

/* Sends all of it, and is empty. False: the connection is lost, or there was no memory. */
bool output_flush(struct output *output, struct berth_conn *conn);

#endif
