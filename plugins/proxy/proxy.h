/* proxy.h: the parts of the proxy plugin.
 *
 * proxy.c      connections in pairs, and what passes between them
 * upstreams.c  whom to connect to: the configuration, the choice, who is down
 * header.c     the PROXY protocol's header, for upstreams that want it */
#ifndef BERTH_PLUGINS_PROXY_PROXY_H
#define BERTH_PLUGINS_PROXY_PROXY_H

#include <berth/berth.h>
#include <stdatomic.h>
#include <stdbool.h>

/* -- upstreams.c ------------------------------------------------------------------------------- */

enum { HOST_BYTES_MAX = 255 };

struct upstream {
    char host[HOST_BYTES_MAX + 1]; /* a name or an address, without brackets */
    uint16_t port;
    atomic_uint connections;        /* that go there now, or are being made */
    _Atomic uint64_t down_until_ms; /* it did not answer: the others come first until then */
};

enum { BALANCE_ROUND_ROBIN, BALANCE_LEAST_CONNECTIONS };

/* Of a listener. Read-only but for what is atomic. */
struct upstreams {
    struct upstream *items;
    uint32_t count;
    uint32_t balance; /* BALANCE_* */
    uint32_t connect_timeout_ms;
    uint32_t retry_after_ms;
    uint32_t header_version; /* of the PROXY protocol towards upstreams; 0: none */
    atomic_uint next;        /* round robin */
};

/* From the listener's "config". NULL with the error set on failure. */
struct upstreams *upstreams_create(const struct berth_listener *listener,
                                   struct berth_error *error);
void upstreams_destroy(struct upstreams *upstreams);

/* The next one to try, after `tried` of them in this attempt have failed; one that is down only
 * when all are. Its count goes up: upstream_leave() is owed. NULL: all have been tried. */
struct upstream *upstreams_choose(struct upstreams *upstreams, uint64_t now_ms, uint64_t *tried);
void upstream_leave(struct upstream *upstream);
void upstream_failed(struct upstreams *upstreams, struct upstream *upstream, uint64_t now_ms);
void upstream_answered(struct upstream *upstream);

/* -- header.c ---------------------------------------------------------------------------------- */

enum { HEADER_BYTES_MAX = 107 };

/* Writes the header of that version that names the client; returns its size. */
uint32_t header_write(const struct berth_host *host, uint32_t version,
                      const struct berth_address *client, const struct berth_address *target,
                      uint8_t bytes[HEADER_BYTES_MAX]);

#endif
