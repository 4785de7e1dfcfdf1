/* testbed_private.h: what the files of the testbed share, besides layer.h. */
#ifndef BERTH_HOST_DEVKIT_TESTBED_PRIVATE_H
#define BERTH_HOST_DEVKIT_TESTBED_PRIVATE_H

#include "berth/address.h"
#include "devkit/testbed.h"

static inline struct berth_address testbed_loopback(uint16_t port) {
    return (struct berth_address){
        .family = BERTH_FAMILY_IPV4, .port = port, .bytes = {127, 0, 0, 1}};
}

/* testbed.c: runs the consequences of a client's step. On a slow network, chance decides how many
 * of them happen before the next step. */
void testbed_settle_some(struct testbed *bed);

/* testbed_clients.c: the clients read received data and send what the network accepts. False: there
 * was nothing to do. */
bool testbed_clients_act(struct testbed *bed);
void testbed_clients_free(struct testbed *bed);

/* testbed_world.c: starts the world of that number, without failures at first; one world in four
 * may have some later. */
void testbed_world_begin(uint32_t number);
void testbed_world_set_failures(uint32_t number, bool on);
/* Whether data has latency. */
bool testbed_world_is_slow(void);

#endif
