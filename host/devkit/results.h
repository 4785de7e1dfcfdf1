/* results.h: the results of a tool's checks: one line each, or JSON, and their number.
 *
 * Owner: the verb. Threads: the main thread. */
#ifndef BERTH_HOST_DEVKIT_RESULTS_H
#define BERTH_HOST_DEVKIT_RESULTS_H

#include <stdbool.h>

#include "devkit/bytes.h"

enum result { RESULT_PASSED, RESULT_FAILED, RESULT_SKIPPED };

struct results {
    bool json;
    unsigned counts[3];
    struct bytes list; /* of JSON objects */
};

/* `words` may have several lines or be "". */
void results_add(struct results *results, enum result result, const char *name, const char *words);
void results_addf(struct results *results, enum result result, const char *name, const char *format,
                  ...) BERTH_PRINTF(4, 5);

/* Reports why nothing can be checked, as JSON if requested. Returns the exit code. */
int results_fail(bool json, const char *why);

/* Writes the totals, or the whole JSON; frees the results. Returns the exit code. */
int results_finish(struct results *results);

#endif
