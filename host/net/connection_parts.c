#include "net/connection_parts.h"

#include "base/alloc.h"

/* In memory that cannot be written, so that a mistake does not go unseen. */
static const struct traffic no_traffic;
static const struct extras no_extras;

struct traffic *traffic_none(void) {
    return (struct traffic *)(uintptr_t)&no_traffic;
}

struct extras *extras_none(void) {
    return (struct extras *)(uintptr_t)&no_extras;
}

struct traffic *traffic_take(struct traffic_pool *pool) {
    struct traffic *traffic = pool->free;
    if (!traffic) {
        return alloc_zeroed(sizeof(*traffic));
    }
    pool->free = traffic->next;
    pool->free_count--;
    return traffic;
}

void traffic_give(struct traffic_pool *pool, struct traffic *traffic) {
    if (pool->free_count >= pool->free_max) {
        alloc_free(traffic);
        return;
    }
    traffic->next = pool->free;
    pool->free = traffic;
    pool->free_count++;
}

void traffic_pool_fini(struct traffic_pool *pool) {
    while (pool->free) {
        struct traffic *next = pool->free->next;
        alloc_free(pool->free);
        pool->free = next;
    }
    pool->free_count = 0;
}
