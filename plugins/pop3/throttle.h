/* throttle.h: how long a client that has guessed wrong waits before it may guess again.
 *
 * A client is an IPv4 address or an IPv6 /64. Each failure doubles the delay, from `delay_ms` up to
 * `delay_max_ms`; a client's attempts then come one after the other, however many connections it
 * has, and those that would wait longer than the maximum are turned away unheard. Ten times the
 * maximum without a failure, and all is forgotten. The table has a limit, where those forgotten
 * first are those that did nothing for longest. Threads: any. */
#ifndef BERTH_PLUGINS_POP3_THROTTLE_H
#define BERTH_PLUGINS_POP3_THROTTLE_H

#include <berth/address.h>
#include <stdbool.h>

struct throttle;

struct throttle *throttle_create(uint32_t delay_ms, uint32_t delay_max_ms, uint32_t clients_max);
void throttle_destroy(struct throttle *throttle);

/* An attempt now: *wait_ms is for how long it must wait. False: it is turned away. */
bool throttle_attempt(struct throttle *throttle, const struct berth_address *client,
                      uint64_t now_ms, uint64_t *wait_ms);

/* The attempt has failed. */
void throttle_failed(struct throttle *throttle, const struct berth_address *client,
                     uint64_t now_ms);

#endif
