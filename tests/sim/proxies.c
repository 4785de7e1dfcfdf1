/* Clients that are proxies: what they say in front of their client's stream. */
#include <stdio.h>
#include <string.h>

#include "world.h"

enum { PROXIED_NET = 10, V2_BYTES = 28 };

static bool is_proxy(const struct conversation *client) {
    return world.has_proxies && client->number % 3 == 1;
}

static void write_v1(struct conversation *client) {
    int size = snprintf((char *)client->header, sizeof(client->header),
                        "PROXY TCP4 10.0.0.%u 127.0.0.1 %u 80\r\n", client->number % 3 + 1,
                        FIRST_PORT + client->number);
    client->header_size = (uint32_t)size;
}

static void write_v2(struct conversation *client) {
    static const uint8_t signature[] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
                                        0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};
    uint8_t *at = client->header;
    unsigned port = FIRST_PORT + client->number;
    memcpy(at, signature, sizeof(signature));
    at += sizeof(signature);
    memcpy(at, (const uint8_t[]){0x21, 0x11, 0, 12}, 4);
    memcpy(at + 4, (const uint8_t[]){PROXIED_NET, 0, 0, (uint8_t)(client->number % 3 + 1)}, 4);
    memcpy(at + 8, (const uint8_t[]){127, 0, 0, 1}, 4);
    memcpy(at + 12, (const uint8_t[]){(uint8_t)(port >> 8), (uint8_t)port, 0, 80}, 4);
    client->header_size = V2_BYTES;
}

void proxy_header_by_chance(struct conversation *client) {
    if (!is_proxy(client)) {
        return;
    }
    if (sim_random(2) == 0) {
        write_v1(client);
    } else {
        write_v2(client);
    }
    if (sim_random(6) == 0) {
        client->is_garbage = true;
        client->header[sim_random(5)] ^= 0x40;
    }
}

bool proxy_address_is_right(const struct conversation *client, const struct berth_address *remote) {
    uint8_t net = is_proxy(client) ? PROXIED_NET : 127;
    return remote->family == BERTH_FAMILY_IPV4 && remote->bytes[0] == net &&
           remote->bytes[3] == client->number % 3 + 1 &&
           remote->port == FIRST_PORT + client->number;
}
