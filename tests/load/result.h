/* result.h: what a run has counted; of one process, or of several put together.
 *
 * Owner: the program, in memory that its processes share (no pointers in it). Threads: each part is
 * written by one process, and read by the parent when that one has ended; what is read before, for
 * a line of progress, may be a little old. */
#ifndef BERTH_LOAD_RESULT_H
#define BERTH_LOAD_RESULT_H

#include <stdint.h>

#include "base/macros.h"
#include "histogram.h"

#define RESULT_ERRORS_MAX 8
#define RESULT_ERROR_MAX 160

struct result {
    uint64_t attempted; /* connections */
    uint64_t connected;
    uint64_t refused;    /* of those attempted */
    uint64_t cut;        /* ended by the server while they still had something to do */
    uint64_t open_max;   /* at the same time */
    uint64_t operations; /* from here on: while measuring */
    uint64_t unsent;     /* were due before the end and could not begin; `latency` has them, too */
    uint64_t bytes_sent;
    uint64_t bytes_received;
    uint64_t errors;
    uint64_t open, connecting; /* just now: for progress */
    double seconds;
    double server_seconds;    /* of processor time, while measuring */
    double connect_seconds;   /* until every connection stood or had failed */
    struct histogram latency; /* from the moment that an operation was due */
    struct histogram service; /* from the moment that it began */
    struct histogram connects;
    char first_errors[RESULT_ERRORS_MAX][RESULT_ERROR_MAX];
};

void result_init(struct result *result);

/* Forgets what was counted while warming up: errors and connections stay. */
void result_begin_measuring(struct result *result);

/* Counts an error and keeps the words of the first few. */
void result_error(struct result *result, const char *format, ...) BERTH_PRINTF(2, 3);

void result_merge(struct result *into, const struct result *from);

#endif
