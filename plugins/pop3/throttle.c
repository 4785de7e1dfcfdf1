#include "throttle.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Without memory for the table's own parts, the client in question is not added. */
#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(element) ((element)->is_added = false)
#include <uthash.h>

enum { FORGET_AFTER_MAXIMA = 10 };

struct key {
    uint16_t family;
    uint8_t bytes[8];
};

struct client {
    struct key key;
    bool is_added;
    uint32_t failures;
    uint64_t failed_ms; /* the last time */
    uint64_t next_ms;   /* before which no attempt begins */
    UT_hash_handle hh;  /* in the order of their last failures */
};

struct throttle {
    pthread_mutex_t lock;
    struct client *clients;
    uint32_t delay_ms;
    uint32_t delay_max_ms;
    uint32_t clients_max;
};

struct throttle *throttle_create(uint32_t delay_ms, uint32_t delay_max_ms, uint32_t clients_max) {
    struct throttle *throttle = calloc(1, sizeof(*throttle));
    if (!throttle || pthread_mutex_init(&throttle->lock, NULL) != 0) {
        free(throttle);
        return NULL;
    }
    throttle->delay_ms = delay_ms;
    throttle->delay_max_ms = delay_max_ms > delay_ms ? delay_max_ms : delay_ms;
    throttle->clients_max = clients_max;
    return throttle;
}

static void forget(struct throttle *throttle, struct client *client) {
    HASH_DEL(throttle->clients, client);
    free(client);
}

void throttle_destroy(struct throttle *throttle) {
    if (!throttle) {
        return;
    }
    struct client *client;
    struct client *next;
    HASH_ITER(hh, throttle->clients, client, next) {
        forget(throttle, client);
    }
    pthread_mutex_destroy(&throttle->lock);
    free(throttle);
}

static struct key key_of(const struct berth_address *address) {
    struct key key;
    memset(&key, 0, sizeof(key)); /* it is compared with its padding */
    key.family = address->family;
    memcpy(key.bytes, address->bytes, address->family == BERTH_FAMILY_IPV6 ? 8 : 4);
    return key;
}

/* NULL: nothing is held against the client. */
static struct client *find(struct throttle *throttle, const struct berth_address *address,
                           uint64_t now_ms) {
    struct key key = key_of(address);
    struct client *client;
    HASH_FIND(hh, throttle->clients, &key, sizeof(key), client);
    uint64_t memory_ms = (uint64_t)throttle->delay_max_ms * FORGET_AFTER_MAXIMA;
    if (client && now_ms - client->failed_ms > memory_ms && now_ms > client->failed_ms) {
        forget(throttle, client);
        return NULL;
    }
    return client;
}

static uint64_t delay_of(const struct throttle *throttle, const struct client *client) {
    uint64_t delay = throttle->delay_ms;
    for (uint32_t i = 1; i < client->failures && delay < throttle->delay_max_ms; i++) {
        delay *= 2;
    }
    return delay < throttle->delay_max_ms ? delay : throttle->delay_max_ms;
}

bool throttle_attempt(struct throttle *throttle, const struct berth_address *client,
                      uint64_t now_ms, uint64_t *wait_ms) {
    bool allowed = true;
    *wait_ms = 0;
    pthread_mutex_lock(&throttle->lock);
    struct client *known = find(throttle, client, now_ms);
    if (known) {
        uint64_t begin = known->next_ms > now_ms ? known->next_ms : now_ms;
        *wait_ms = begin - now_ms;
        allowed = *wait_ms <= throttle->delay_max_ms;
        if (allowed) {
            known->next_ms = begin + delay_of(throttle, known);
        }
    }
    pthread_mutex_unlock(&throttle->lock);
    return allowed;
}

static struct client *add(struct throttle *throttle, const struct berth_address *address) {
    struct client *client = calloc(1, sizeof(*client));
    if (!client) {
        return NULL;
    }
    if (HASH_COUNT(throttle->clients) >= throttle->clients_max) {
        forget(throttle, throttle->clients); /* the first is the oldest */
    }
    client->key = key_of(address);
    client->is_added = true;
    HASH_ADD(hh, throttle->clients, key, sizeof(client->key), client);
    if (!client->is_added) {
        free(client);
        return NULL;
    }
    return client;
}

void throttle_failed(struct throttle *throttle, const struct berth_address *client,
                     uint64_t now_ms) {
    pthread_mutex_lock(&throttle->lock);
    struct client *old = find(throttle, client, now_ms);
    uint32_t failures = old ? old->failures : 0;
    uint64_t next_ms = old ? old->next_ms : 0;
    if (old) {
        forget(throttle, old); /* to be the newest again */
    }
    struct client *known = add(throttle, client);
    if (known) {
        known->failures = failures < UINT32_MAX ? failures + 1 : failures;
        known->failed_ms = now_ms;
        uint64_t earliest = now_ms + delay_of(throttle, known);
        known->next_ms = next_ms > earliest ? next_ms : earliest;
    }
    pthread_mutex_unlock(&throttle->lock);
}
