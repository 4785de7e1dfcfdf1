/* status.h: how a call across the ABI says that it failed, and why.
 *
 * Functions that can fail return an int32_t status: BERTH_OK or one of the negative BERTH_E_*.
 * A host or a plugin that does not know a status treats it as BERTH_E_FAILED. */
#ifndef BERTH_STATUS_H
#define BERTH_STATUS_H

#include <stdarg.h>
#include <stdio.h>

#include "abi.h"

BERTH_BEGIN_DECLS

#define BERTH_OK INT32_C(0)
#define BERTH_E_FAILED INT32_C(-1)       /* none of the others; the message says what */
#define BERTH_E_INVALID INT32_C(-2)      /* an argument or a configuration is wrong */
#define BERTH_E_NO_MEMORY INT32_C(-3)    /* memory or another resource of the system ran out */
#define BERTH_E_GONE INT32_C(-4)         /* the connection has ended, or is ending */
#define BERTH_E_LIMIT INT32_C(-5)        /* a configured limit was reached */
#define BERTH_E_STATE INT32_C(-6)        /* not allowed now (for instance a send after close) */
#define BERTH_E_UNSUPPORTED INT32_C(-7)  /* this host, or this system, cannot do it */
#define BERTH_E_CANCELLED INT32_C(-8)    /* cancelled before it was done */
#define BERTH_E_TIMEOUT INT32_C(-9)      /* its deadline passed */
#define BERTH_E_REFUSED INT32_C(-10)     /* connect: nothing listens there */
#define BERTH_E_UNREACHABLE INT32_C(-11) /* connect: no such host, or no route to it */
#define BERTH_E_NOT_FOUND INT32_C(-12)   /* no such file */
#define BERTH_E_DENIED INT32_C(-13)      /* the system does not allow it */

/* A message for a status. The host owns the struct and its buffer, and passes it to [control]
 * calls; it is valid until the call returns. The plugin fills it (berth_error_set) when it returns
 * a failure: what it tried, what was wrong, and what the operator can do. The host adds plugin and
 * listener.
 */
struct berth_error {
    uint32_t struct_size;
    uint32_t message_capacity; /* bytes at `message`, the terminator included */
    char *message;             /* empty when the call begins */
};

/* Formats a message and returns the status: `return berth_error_set(error, BERTH_E_INVALID,
 * "/greeting: expected a string")`. Compiled into the plugin, as variable arguments must not
 * cross the boundary. */
static inline int32_t berth_error_set(struct berth_error *error, int32_t status, const char *format,
                                      ...) {
    if (error && error->message && error->message_capacity > 0) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(error->message, error->message_capacity, format, arguments);
        va_end(arguments);
    }
    return status;
}

BERTH_END_DECLS

#endif
