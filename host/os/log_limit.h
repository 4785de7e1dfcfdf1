/* log_limit.h: limits the rate of log lines that clients can cause.
 *
 * Of each listener and kind, in each level, so many lines pass in a window of time, which begins
 * with the first of them. Further lines are counted. When the window ends, one line gives their
 * number and the beginning of the latest one. Lines of a plugin are also told apart by how they
 * begin, so that many lines of one sort do not suppress those of another.
 *
 * Threads: any. */
#ifndef BERTH_HOST_OS_LOG_LIMIT_H
#define BERTH_HOST_OS_LOG_LIMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"

void log_limit_init(void);
void log_limit_configure(unsigned lines, unsigned window_ms); /* 0 lines: no limit */

/* Whether a line may pass now. *begins: it is the first suppressed line of a window, at whose end
 * log_limit_tick() has something to log. */
bool log_limit_admit(enum log_kind kind, enum log_level level, const struct log_subject *subject,
                     const char *text, size_t size, uint64_t now_ms, bool *begins);

/* Logs the summaries of the windows that have ended by now; `all`: of all windows, at the end of
 * the host. Returns in how many milliseconds the next one ends, or -1. */
int log_limit_tick(uint64_t now_ms, bool all);

uint64_t log_limit_held_back(void); /* lines, in all */

void log_limit_fini(void);

#endif
