/* error.h: why a piece of set-up code failed, in words for the person who runs the host.
 *
 * Set-up code returns bool and takes a `struct error *error` as its last argument. On failure it
 * fills the message once, where the reason is known; callers add the context in front of it with
 * error_prefix() and the verb at the top prints it. Run-time code returns codes instead.
 *
 * Owner: the caller, usually on its stack. Threads: none of its own; do not share one. */
#ifndef BERTH_HOST_BASE_ERROR_H
#define BERTH_HOST_BASE_ERROR_H

#include <stdbool.h>

#include "base/macros.h"

#define ERROR_MESSAGE_MAX 1024

/* What callers tell apart; most failures are words only. */
enum error_kind {
    ERROR_KIND_OTHER,
    ERROR_KIND_NOT_FOUND,
    ERROR_KIND_DENIED,
    ERROR_KIND_NOT_REGULAR, /* a folder, a pipe, a device: not a file */
    ERROR_KIND_EXHAUSTED,   /* memory, descriptors, … */
    ERROR_KIND_NO_READER,   /* a named pipe without a reader */
    ERROR_KIND_TAKEN,       /* a name that is in use */
};

struct error {
    enum error_kind kind;
    char message[ERROR_MESSAGE_MAX]; /* always terminated; cut, never overrun */
};

/* Sets the message. Returns false, so that `return error_set(error, …)` reads well.
 * A NULL error is allowed: the caller does not need the message. */
bool error_set(struct error *error, const char *format, ...) BERTH_PRINTF(2, 3);

/* The same, of that kind. */
bool error_set_kind(struct error *error, enum error_kind kind, const char *format, ...)
    BERTH_PRINTF(3, 4);

/* Puts text before the present message: `listener "echo": ` + `bind: address in use`.
 * Returns false. */
bool error_prefix(struct error *error, const char *format, ...) BERTH_PRINTF(2, 3);

#endif
