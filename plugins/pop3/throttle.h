/* throttle.h: the delay between log-in attempts of a client after a wrong password.
 *
 * A client is an IPv4 address or an IPv6 /64. Each failure doubles the delay, from `delay_ms` up to
 * `delay_max_ms`; a client's attempts are then serialized, whatever the number of its connections,
 * and attempts that would wait longer than the maximum are rejected unchecked. After ten times the
 * maximum without a failure, the client's failures are removed. The table has a limit; the clients
 * with the oldest last failure are removed first.
 *
 * An attempt counts before its password is checked, so that parallel attempts cannot share one
 * delay. For a client without failures, one attempt is checked at a time, and the others ask again.
 * For a client with failures, each attempt counts as a failure until it turns out to be right.
 * Threads: any. */
#ifndef BERTH_PLUGINS_POP3_THROTTLE_H
#define BERTH_PLUGINS_POP3_THROTTLE_H

#include <berth/address.h>
#include <stdbool.h>

struct throttle;

struct throttle *throttle_create(uint32_t delay_ms, uint32_t delay_max_ms, uint32_t clients_max);
void throttle_destroy(struct throttle *throttle);

/* Of one log-in; all zero but for the client: none. */
struct attempt {
    struct berth_address client;
    enum {
        ATTEMPT_NONE,
        ATTEMPT_ASKS,    /* waits until another one of its client has been checked */
        ATTEMPT_ALONE,   /* the only one of its client, which has not failed yet */
        ATTEMPT_COUNTED, /* as a failure so far */
    } state;
    uint64_t added_ms; /* to the waits of those that follow */
};

enum throttle_verdict {
    THROTTLE_GO,        /* in `wait_ms`; then call throttle_end() or throttle_cancel() */
    THROTTLE_ASK_AGAIN, /* in `wait_ms`; or call throttle_cancel() */
    THROTTLE_TURNED_AWAY,
};

enum throttle_verdict throttle_begin(struct throttle *throttle, struct attempt *attempt,
                                     uint64_t now_ms, uint64_t *wait_ms);

/* The password was checked. */
void throttle_end(struct throttle *throttle, struct attempt *attempt, bool is_right,
                  uint64_t now_ms);

/* The password will not be checked; without an attempt it does nothing. */
void throttle_cancel(struct throttle *throttle, struct attempt *attempt);

#endif
