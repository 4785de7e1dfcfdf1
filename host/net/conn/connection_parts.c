#include "net/conn/connection_parts.h"

#include "base/alloc.h"

/* In read-only memory, so that a write by mistake is detected. */
static const struct conn_io no_conn_io;
static const struct conn_resources no_conn_resources;

struct conn_io *conn_io_none(void) {
    return (struct conn_io *)(uintptr_t)&no_conn_io;
}

struct conn_resources *conn_resources_none(void) {
    return (struct conn_resources *)(uintptr_t)&no_conn_resources;
}

struct conn_io *conn_io_take(struct conn_io_pool *pool) {
    struct conn_io *io = pool->free;
    if (!io) {
        return alloc_zeroed(sizeof(*io));
    }
    pool->free = io->next;
    pool->free_count--;
    return io;
}

void conn_io_give(struct conn_io_pool *pool, struct conn_io *io) {
    if (pool->free_count >= pool->free_max) {
        alloc_free(io);
        return;
    }
    io->next = pool->free;
    pool->free = io;
    pool->free_count++;
}

void conn_io_pool_fini(struct conn_io_pool *pool) {
    while (pool->free) {
        struct conn_io *next = pool->free->next;
        alloc_free(pool->free);
        pool->free = next;
    }
    pool->free_count = 0;
}
