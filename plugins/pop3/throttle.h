/* throttle.h: how long a client that has guessed wrong waits before it may guess again.
 *
 * A client is an IPv4 address or an IPv6 /64. Each failure doubles the delay, from `delay_ms` up to
 * `delay_max_ms`; a client's attempts then come one after the other, however many connections it
 * has, and those that would wait longer than the maximum are turned away unheard. Ten times the
 * maximum without a failure, and all is forgotten. The table has a limit, where those forgotten
 * first are those that did nothing for longest.
 *
 * An attempt counts before its password is looked at, so that many at once are not many for one
 * delay: of a client that has not failed yet one is checked at a time, and the others ask again; of
 * one that has, each attempt counts as a failure until it turns out to be right. Threads: any. */
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
    THROTTLE_GO,        /* in `wait_ms`; throttle_end() or throttle_cancel() is owed */
    THROTTLE_ASK_AGAIN, /* in `wait_ms`; or throttle_cancel() is owed */
    THROTTLE_TURNED_AWAY,
};

enum throttle_verdict throttle_begin(struct throttle *throttle, struct attempt *attempt,
                                     uint64_t now_ms, uint64_t *wait_ms);

/* The password was looked at. */
void throttle_end(struct throttle *throttle, struct attempt *attempt, bool is_right,
                  uint64_t now_ms);

/* It never will be; without an attempt it does nothing. */
void throttle_cancel(struct throttle *throttle, struct attempt *attempt);

#endif
