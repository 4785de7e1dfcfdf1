/* results.h: what the checks of a tool came to: a line each, or JSON, and their number.
 *
 * Owner: the verb. Threads: its one. */
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

/* `words` may have several lines, and may be "". */
void results_add(struct results *results, enum result result, const char *name, const char *words);
void results_addf(struct results *results, enum result result, const char *name, const char *format,
                  ...) BERTH_PRINTF(4, 5);

/* There is nothing to check: says why, as JSON too where that is asked for. The exit code. */
int results_fail(bool json, const char *why);

/* Writes the numbers, or all of the JSON; frees what it holds. The exit code. */
int results_finish(struct results *results);

#endif
