#include "throttle.h"

#include <stdlib.h>
#include <string.h>

/* If the table cannot allocate, the client is not added. */
#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(element) ((element)->is_added = false)
#include <uthash.h>

#include "base/siphash.h"
#include "common/lock.h"
#include "crypto.h"

enum {
    FORGET_AFTER_MAXIMA = 10,
    ASK_AGAIN_MS = 10, /* for ASKING_AT_ONCE waiting attempts; longer with more of them */
    ASKING_AT_ONCE = 16,
    ASK_AGAIN_MAX_MS = 1000,
};

struct key {
    uint16_t family;
    uint8_t bytes[8];
};

struct client {
    struct key key;
    bool is_added;
    bool is_checked;    /* ATTEMPT_ALONE is under way */
    uint32_t asking;    /* ATTEMPT_ASKS */
    uint32_t failures;  /* and attempts that are none yet */
    uint64_t failed_ms; /* the last time */
    uint64_t next_ms;   /* before which no attempt begins */
    UT_hash_handle hh;  /* in the order of their last failures */
};

struct throttle {
    struct lock lock;
    struct client *clients; /* by a hash of its own: clients choose their addresses */
    struct siphash_key key;
    uint32_t delay_ms;
    uint32_t delay_max_ms;
    uint32_t clients_max;
};

struct throttle *throttle_create(uint32_t delay_ms, uint32_t delay_max_ms, uint32_t clients_max) {
    struct throttle *throttle = calloc(1, sizeof(*throttle));
    if (!throttle || !crypto_random(&throttle->key, sizeof(throttle->key)) ||
        !lock_init(&throttle->lock)) {
        free(throttle);
        return NULL;
    }
    throttle->delay_ms = delay_ms;
    throttle->delay_max_ms = delay_max_ms > delay_ms ? delay_max_ms : delay_ms;
    throttle->clients_max = clients_max;
    return throttle;
}

static void throttle_forget(struct throttle *throttle, struct client *client) {
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
        throttle_forget(throttle, client);
    }
    lock_fini(&throttle->lock);
    free(throttle);
}

static struct key throttle_key_of(const struct berth_address *address) {
    struct key key;
    memset(&key, 0, sizeof(key)); /* it is compared with its padding */
    key.family = address->family;
    memcpy(key.bytes, address->bytes, address->family == BERTH_FAMILY_IPV6 ? 8 : 4);
    return key;
}

static unsigned throttle_hash_of(const struct throttle *throttle, const struct key *key) {
    return (unsigned)siphash(&throttle->key, key, sizeof(*key));
}

static void throttle_add(struct throttle *throttle, struct client *client) {
    HASH_ADD_BYHASHVALUE(hh, throttle->clients, key, sizeof(client->key),
                         throttle_hash_of(throttle, &client->key), client);
}

static struct client *throttle_find(struct throttle *throttle,
                                    const struct berth_address *address) {
    struct key key = throttle_key_of(address);
    struct client *client;
    HASH_FIND_BYHASHVALUE(hh, throttle->clients, &key, sizeof(key),
                          throttle_hash_of(throttle, &key), client);
    return client;
}

/* Removes the client if it has no failures and no running attempts. */
static void forget_if_idle(struct throttle *throttle, struct client *client) {
    if (client->failures == 0 && !client->is_checked && client->asking == 0) {
        throttle_forget(throttle, client);
    }
}

/* The client, without expired failures. NULL: no memory. */
static struct client *throttle_get(struct throttle *throttle, const struct berth_address *address,
                                   uint64_t now_ms) {
    struct client *client = throttle_find(throttle, address);
    if (client) {
        uint64_t memory_ms = (uint64_t)throttle->delay_max_ms * FORGET_AFTER_MAXIMA;
        if (now_ms > client->failed_ms && now_ms - client->failed_ms > memory_ms &&
            now_ms >= client->next_ms) {
            client->failures = 0;
        }
        return client;
    }
    client = calloc(1, sizeof(*client));
    if (!client) {
        return NULL;
    }
    if (HASH_COUNT(throttle->clients) >= throttle->clients_max) {
        throttle_forget(throttle, throttle->clients); /* the first is the oldest */
    }
    client->key = throttle_key_of(address);
    client->is_added = true;
    throttle_add(throttle, client);
    if (!client->is_added) {
        free(client);
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

/* -- attempts -------------------------------------------------------------- */

static enum throttle_verdict ask_again(struct client *client, struct attempt *attempt,
                                       uint64_t *wait_ms) {
    *wait_ms = ASK_AGAIN_MS * (1 + (uint64_t)client->asking / ASKING_AT_ONCE);
    *wait_ms = *wait_ms < ASK_AGAIN_MAX_MS ? *wait_ms : ASK_AGAIN_MAX_MS;
    client->asking++;
    attempt->state = ATTEMPT_ASKS;
    return THROTTLE_ASK_AGAIN;
}

static enum throttle_verdict throttle_count(const struct throttle *throttle, struct client *client,
                                            struct attempt *attempt, uint64_t now_ms,
                                            uint64_t *wait_ms) {
    uint64_t begin = client->next_ms > now_ms ? client->next_ms : now_ms;
    if (begin - now_ms > throttle->delay_max_ms) {
        return THROTTLE_TURNED_AWAY;
    }
    *wait_ms = begin - now_ms;
    client->failures += client->failures < UINT32_MAX ? 1 : 0;
    attempt->added_ms = delay_of(throttle, client);
    client->next_ms = begin + attempt->added_ms;
    attempt->state = ATTEMPT_COUNTED;
    return THROTTLE_GO;
}

static enum throttle_verdict throttle_start(struct throttle *throttle, struct attempt *attempt,
                                            uint64_t now_ms, uint64_t *wait_ms) {
    struct client *client = throttle_get(throttle, &attempt->client, now_ms);
    bool asked = attempt->state == ATTEMPT_ASKS;
    attempt->state = ATTEMPT_NONE;
    if (!client) {
        return THROTTLE_TURNED_AWAY;
    }
    client->asking -= asked && client->asking > 0 ? 1 : 0;
    if (client->failures > 0) {
        return throttle_count(throttle, client, attempt, now_ms, wait_ms);
    }
    if (client->is_checked) {
        return ask_again(client, attempt, wait_ms);
    }
    client->is_checked = true;
    attempt->state = ATTEMPT_ALONE;
    return THROTTLE_GO;
}

enum throttle_verdict throttle_begin(struct throttle *throttle, struct attempt *attempt,
                                     uint64_t now_ms, uint64_t *wait_ms) {
    *wait_ms = 0;
    if (throttle->delay_ms == 0) {
        return THROTTLE_GO;
    }
    lock_acquire(&throttle->lock);
    enum throttle_verdict verdict = throttle_start(throttle, attempt, now_ms, wait_ms);
    lock_release(&throttle->lock);
    return verdict;
}

/* Undoes the effect of an attempt. */
static void throttle_give_back(struct throttle *throttle, struct client *client,
                               const struct attempt *attempt) {
    if (attempt->state == ATTEMPT_ALONE) {
        client->is_checked = false;
    } else if (attempt->state == ATTEMPT_ASKS && client->asking > 0) {
        client->asking--;
    } else if (attempt->state == ATTEMPT_COUNTED && client->failures > 0) {
        client->failures--;
        client->next_ms -=
            client->next_ms > attempt->added_ms ? attempt->added_ms : client->next_ms;
    }
    forget_if_idle(throttle, client);
}

static void throttle_fail(struct throttle *throttle, const struct attempt *attempt,
                          uint64_t now_ms) {
    struct client *client = throttle_get(throttle, &attempt->client, now_ms);
    if (!client) {
        return;
    }
    if (attempt->state == ATTEMPT_ALONE) {
        client->is_checked = false;
        client->failures += client->failures < UINT32_MAX ? 1 : 0;
    } else if (client->failures == 0) {
        client->failures = 1; /* it was forgotten meanwhile */
    }
    uint64_t earliest_ms = now_ms + delay_of(throttle, client);
    client->failed_ms = now_ms;
    client->next_ms = client->next_ms > earliest_ms ? client->next_ms : earliest_ms;
    HASH_DEL(throttle->clients, client); /* to be the newest again */
    throttle_add(throttle, client);
    if (!client->is_added) {
        free(client);
    }
}

void throttle_end(struct throttle *throttle, struct attempt *attempt, bool is_right,
                  uint64_t now_ms) {
    if (!is_right && attempt->state != ATTEMPT_NONE) {
        lock_acquire(&throttle->lock);
        throttle_fail(throttle, attempt, now_ms);
        lock_release(&throttle->lock);
        attempt->state = ATTEMPT_NONE;
    }
    throttle_cancel(throttle, attempt);
}

void throttle_cancel(struct throttle *throttle, struct attempt *attempt) {
    if (attempt->state == ATTEMPT_NONE) {
        return;
    }
    lock_acquire(&throttle->lock);
    struct client *client = throttle_find(throttle, &attempt->client);
    if (client) {
        throttle_give_back(throttle, client, attempt);
    }
    lock_release(&throttle->lock);
    attempt->state = ATTEMPT_NONE;
}
