/* proxy.h: the parts of the proxy plugin.
 *
 * proxy.c      pairs of connections, and the forwarding between them
 * upstreams.c  the upstreams: configuration, selection, which ones are down
 * health.c     health checks of upstreams, independent of clients
 * target.c     where an upstream is (target.h)
 * header.c     the PROXY protocol's header, for upstreams that want it */
#ifndef BERTH_PLUGINS_PROXY_PROXY_H
#define BERTH_PLUGINS_PROXY_PROXY_H

#include <berth/berth.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "proxy/target.h"

/* -- upstreams.c ----------------------------------------------------------- */

struct upstream {
    struct target target;
    atomic_uint connections;      /* open or being opened */
    atomic_bool is_down;          /* it did not answer: the others are preferred until it does */
    _Atomic uint64_t probe_at_ms; /* while it is down: time of the next probe */
    bool is_checked;              /* health.c: a check is running */
    struct berth_metric *is_up;   /* health.c: NULL without health checks */
    struct berth_metric *failures;
};

enum { BALANCE_ROUND_ROBIN, BALANCE_LEAST_CONNECTIONS };

struct health;

/* Of a listener. Read-only but for what is atomic. */
struct upstreams {
    struct upstream *items;
    uint32_t count;
    uint32_t balance; /* BALANCE_* */
    uint32_t connect_timeout_ms;
    uint32_t retry_after_ms;
    uint32_t health_check_ms; /* 0: there are none */
    struct health *health;    /* NULL: likewise */
    uint32_t header_version;  /* of the PROXY protocol towards upstreams; 0: none */
    atomic_uint next;         /* round robin */
};

/* From the listener's "config". NULL with the error set on failure. */
/* Checks beyond the schema: the name and port of each upstream. */
int32_t BERTH_CALL upstreams_check_config(const struct berth_config_request *request,
                                          struct berth_config_errors *errors);

struct upstreams *upstreams_create(const struct berth_listener *listener,
                                   struct berth_error *error);
void upstreams_destroy(struct upstreams *upstreams);

/* Selects the next upstream to try, except those in `tried`, which have failed in this attempt; one
 * that is down only if all are. Increments its count: the caller must call upstream_leave(). NULL:
 * all have been tried. */
struct upstream *upstreams_choose(struct upstreams *upstreams, uint64_t *tried);
void upstream_leave(struct upstream *upstream);

/* The result of a connect. True: the state has changed. */
bool upstream_failed(struct upstreams *upstreams, struct upstream *upstream, uint64_t now_ms);
bool upstream_answered(struct upstream *upstream);

/* An upstream that is down, is not in `tried`, and is due for a probe. The caller probes it, then
 * reports the result or cancels. NULL: there is none. */
struct upstream *upstreams_to_probe(struct upstreams *upstreams, uint64_t now_ms, uint64_t tried);
void upstream_call_off_probe(struct upstream *upstream, uint64_t now_ms);

/* -- health.c -------------------------------------------------------------- */

/* Checks each upstream at once, and then every health_check_ms. In `listener_open`. */
int32_t health_start(struct upstreams *upstreams, const struct berth_listener *listener,
                     struct berth_error *error);
void health_stop(struct health *health); /* NULL is legal */

/* -- header.c -------------------------------------------------------------- */

enum { HEADER_BYTES_MAX = 107 };

/* Writes the header of that version that names the client; returns its size. Addresses without a
 * family: the connection is the proxy's own (v2: LOCAL). */
uint32_t header_write(const struct berth_host *host, uint32_t version,
                      const struct berth_address *client, const struct berth_address *target,
                      uint8_t bytes[HEADER_BYTES_MAX]);

#endif
