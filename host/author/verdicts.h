/* verdicts.h: what the checks of a tool came to: a line each, or JSON, and their number.
 *
 * Owner: the verb. Threads: its one. */
#ifndef BERTH_HOST_AUTHOR_VERDICTS_H
#define BERTH_HOST_AUTHOR_VERDICTS_H

#include <stdbool.h>

#include "author/bytes.h"

enum verdict { VERDICT_PASSED, VERDICT_FAILED, VERDICT_SKIPPED };

struct verdicts {
    bool json;
    unsigned counts[3];
    struct bytes list; /* of JSON objects */
};

/* `words` may have several lines, and may be "". */
void verdict_add(struct verdicts *verdicts, enum verdict verdict, const char *name,
                 const char *words);
void verdict_addf(struct verdicts *verdicts, enum verdict verdict, const char *name,
                  const char *format, ...) BERTH_PRINTF(4, 5);

/* There is nothing to check: says why, as JSON too where that is asked for. The exit code. */
int verdicts_fail(bool json, const char *why);

/* Writes the numbers, or all of the JSON; frees what it holds. The exit code. */
int verdicts_finish(struct verdicts *verdicts);

#endif
