/* testbed_private.h: what the files of the testbed share, besides layer.h. */
#ifndef BERTH_HOST_DEVKIT_TESTBED_PRIVATE_H
#define BERTH_HOST_DEVKIT_TESTBED_PRIVATE_H

#include "berth/address.h"
#include "devkit/testbed.h"

static inline struct berth_address testbed_loopback(uint16_t port) {
    return (struct berth_address){
        .family = BERTH_FAMILY_IPV4, .port = port, .bytes = {127, 0, 0, 1}};
}

/* testbed.c: what follows from the step of a client. Where the network is slow, chance decides how
 * much of it comes before the next step. */
void testbed_settle_some(struct testbed *bed);

/* testbed_clients.c: the clients take what has come, and say what there is room for. False: there
 * was nothing to do. */
bool testbed_clients_act(struct testbed *bed);
void testbed_clients_free(struct testbed *bed);

/* testbed_world.c: the world of that number, which begins without failures; every fourth of them
 * may have some later. */
void testbed_world_begin(uint32_t number);
void testbed_world_set_failures(uint32_t number, bool on);
/* What is sent takes its time. */
bool testbed_world_is_slow(void);

#endif
