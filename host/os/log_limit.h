/* log_limit.h: thins out lines that clients can cause.
 *
 * Of each listener and kind, in each level, so many lines pass in a window of time, which begins
 * with the first of them. What comes beyond that is counted, and when the window ends one line says
 * how many there were, with the beginning of the last one. What a plugin logs is told apart by how
 * it begins, too, so that many lines of one sort do not hide those of another.
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

/* Whether a line may pass now. *begins: it is the first one held back of a window, at whose end
 * log_limit_tick() has something to tell. */
bool log_limit_admit(enum log_kind kind, enum log_level level, const struct log_subject *subject,
                     const char *text, size_t size, uint64_t now_ms, bool *begins);

/* Tells of the windows that have ended by now; `all`: of all, at the end of the host. Returns in
 * how many milliseconds the next one ends, or -1. */
int log_limit_tick(uint64_t now_ms, bool all);

uint64_t log_limit_held_back(void); /* lines, in all */

void log_limit_fini(void);

#endif
