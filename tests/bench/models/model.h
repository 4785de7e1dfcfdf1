/* model.h: what the reference servers have in common: their command line, and how they say that
 * they are ready and that they have come to the limit of their model.
 *
 *     model [--port N] [--buffer BYTES] [--close-after BYTES] [--backlog N]
 *
 * Everything else is in each model's own file, where one can see what the model costs. */
#ifndef BERTH_BENCH_MODEL_H
#define BERTH_BENCH_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macros.h"

struct model_options {
    uint16_t port;        /* 0: the system's choice */
    size_t buffer_bytes;  /* that a receive may fill; 16384 */
    uint64_t close_after; /* bytes echoed, then the server closes; 0: never */
    int backlog;          /* 4096 */
};

/* Ends the program with 2 when a word is wrong. */
void model_options_read(struct model_options *options, int count, char **words);

/* "listening on 127.0.0.1:PORT" on the standard output: now clients may come. */
void model_ready(uint16_t port);

/* A line on the standard output, once only: what the model cannot do, and what it does instead. */
void model_limit(const char *format, ...) BERTH_PRINTF(1, 2);

/* Ends the program with 1. */
_Noreturn void model_fail(const char *format, ...) BERTH_PRINTF(1, 2);

#endif
