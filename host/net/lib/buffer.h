/* buffer.h: reference-counted buffers, in whole pages, pooled per worker.
 *
 * A buffer that is released on its worker goes back to the top of the pool's free list, so that the
 * next receive finds it in the cache; one released elsewhere is pushed on a stack that the pool's
 * owner takes from when its free list is empty. Neither path takes a lock.
 *
 * Owner: the holders of references. Threads: a pool belongs to the thread that created it; acquire
 * and release may be called from any. A pool that is closed is freed when its last buffer has
 * returned. */
#ifndef BERTH_HOST_NET_LIB_BUFFER_H
#define BERTH_HOST_NET_LIB_BUFFER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "berth/buffer.h"
#include "net/lib/handle.h"

struct buffer_pool;

/* The host's side of the ABI's opaque type. */
struct berth_buffer {
    struct handle handle; /* first: a plugin gets this handle, and never the buffer's own address */
    uint32_t capacity;
    uint8_t *bytes;            /* page-aligned */
    struct buffer_pool *pool;  /* its pool; NULL: of a size of its own, freed at the last release */
    struct berth_buffer *next; /* in the free list or on the return stack */
    /* The holder that counts it, because the buffer was made for it or is kept by it, until the
     * buffer is freed or returns to its pool; or NULL. */
    _Atomic(struct handle_holder *) holder;
};

/* buffer_bytes: a multiple of the page. At most retained_max free buffers are kept. [worker] */
struct buffer_pool *buffer_pool_create(uint32_t buffer_bytes, uint32_t retained_max);
void buffer_pool_close(struct buffer_pool *pool); /* [worker]; NULL is legal */

/* Sets another limit on the free buffers that are kept; those beyond it are freed. [worker] */
void buffer_pool_retain(struct buffer_pool *pool, uint32_t retained_max);

/* Frees all free buffers except `left`. True: it freed at least one. [worker] */
bool buffer_pool_trim(struct buffer_pool *pool, uint32_t left);

/* For the devkit: takes buffers that would be freed, to watch them for a while; buffer_free_now()
 * frees one in the end. NULL: no hook. [control], while no worker runs */
typedef void buffer_free_hook_fn(struct berth_buffer *buffer);
void buffer_set_free_hook(buffer_free_hook_fn *undertaker);
void buffer_free_now(struct berth_buffer *buffer);

/* A buffer with one reference, or NULL. [worker] */
struct berth_buffer *buffer_take(struct buffer_pool *pool);

/* A buffer of its own size with one reference, or NULL. [any] */
struct berth_buffer *buffer_create(uint32_t capacity);

void buffer_acquire(struct berth_buffer *buffer); /* [any] */
void buffer_release(struct berth_buffer *buffer); /* [any]; NULL is legal */

/* The handle that a plugin gets for a buffer. */
static inline struct berth_buffer *buffer_given(struct berth_buffer *buffer) {
    return handle_give(&buffer->handle);
}

/* The host's only reference becomes the plugin's. */
static inline void buffer_pass(struct berth_buffer *buffer) {
    handle_pass(&buffer->handle);
}

/* The plugin's acquire and release, with the handle that it was given. False: it has no reference
 * to acquire or release by, and nothing has happened. [any] */
static inline bool buffer_plugin_acquires(struct berth_buffer *given) {
    return given && handle_plugin_acquires(given);
}
bool buffer_plugin_releases(struct berth_buffer *given);

/* A plugin has made the buffer, or keeps a reference to it: the holder counts it until it is freed
 * or returns to its pool. NULL: it is not counted. [any] */
void buffer_note_holder(struct berth_buffer *buffer, struct handle_holder *holder);

/* The callback that the buffer was passed to is over: notes the holder if the plugin has kept a
 * reference. A buffer that it has only sent is the host's again, and needs no counting. */
static inline void buffer_note_if_kept(struct berth_buffer *buffer, struct handle_holder *holder) {
    if ((handle_word(&buffer->handle) & HANDLE_COUNT_OF_PLUGIN) != 0) {
        buffer_note_holder(buffer, holder);
    }
}

/* True if the caller holds the only reference, and so may write. */
bool buffer_is_exclusive(const struct berth_buffer *buffer);

/* Buffers of the pool that exist, free ones included; of those, the free ones. [worker] */
uint32_t buffer_pool_live(const struct buffer_pool *pool);
uint32_t buffer_pool_free(const struct buffer_pool *pool);

#endif
