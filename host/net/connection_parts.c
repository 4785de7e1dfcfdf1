#include "net/connection_parts.h"

#include <stddef.h>

#include "base/alloc.h"
#include "net/connection.h"

/* In memory that cannot be written, so that a mistake does not go unseen. */
static const struct traffic no_traffic;
static const struct extras no_extras;

struct traffic *traffic_none(void) {
    return (struct traffic *)(uintptr_t)&no_traffic;
}

struct extras *extras_none(void) {
    return (struct extras *)(uintptr_t)&no_extras;
}

bool connection_need_traffic(struct connection *connection) {
    struct traffic_pool *pool = &connection_worker(connection)->traffic;
    struct traffic *traffic = pool->free;
    if (connection->traffic != &no_traffic) {
        return true;
    }
    if (traffic) {
        pool->free = traffic->next;
        pool->free_count--;
    } else {
        traffic = alloc_zeroed(sizeof(*traffic));
        if (!traffic) {
            return false;
        }
    }
    traffic->connection = connection;
    traffic->send.complete = connection_sent;
    connection->traffic = traffic;
    return true;
}

/* One that goes to rest is as empty as one that is made. */
void connection_drop_traffic(struct connection *connection) {
    struct traffic *traffic = connection->traffic;
    if (traffic == &no_traffic || connection->state.send != CONNECTION_SEND_IDLE ||
        traffic->pending.buffer || !send_queue_is_empty(&traffic->queue)) {
        return;
    }
    struct traffic_pool *pool = &connection_worker(connection)->traffic;
    connection->traffic = traffic_none();
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

bool connection_need_extras(struct connection *connection) {
    if (connection->extras != &no_extras) {
        return true;
    }
    struct extras *extras = alloc_zeroed(sizeof(*extras));
    if (extras) {
        connection->extras = extras;
    }
    return extras != NULL;
}

void connection_drop_extras(struct connection *connection) {
    struct extras *extras = connection->extras;
    if (extras == &no_extras || extras->timers || extras->works || extras->outbounds ||
        extras->turn || (extras->lingered > 0 && connection->state.life == CONNECTION_DRAINING)) {
        return;
    }
    connection->extras = extras_none();
    alloc_free(extras);
}
