#include "net/lib/buffer.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "os/os.h"

struct buffer_pool {
    atomic_uintptr_t owner; /* the thread; 0 once the pool is closed. Written by the owner alone */
    uint32_t buffer_bytes;
    uint32_t retained_max;
    uint32_t free_count;
    struct berth_buffer *free; /* owner's thread only */

    /* Buffers that return to the pool: pushed by any thread, taken all at once by the owner, so
     * that the stack has no ABA problem. `closed_mark` once the owner takes no more of them. */
    _Atomic(struct berth_buffer *) returned;

    atomic_uint holders; /* buffers that exist, and the owner itself: the last one frees the pool */
};

static struct berth_buffer closed_mark;

static bool pool_is_mine(const struct buffer_pool *pool) {
    return atomic_load_explicit(&pool->owner, memory_order_relaxed) == os_thread_id();
}

static void pool_drop_holder(struct buffer_pool *pool) {
    if (atomic_fetch_sub_explicit(&pool->holders, 1, memory_order_acq_rel) == 1) {
        alloc_free(pool);
    }
}

static buffer_free_hook_fn *buffer_free_hook; /* of the tools; NULL in a host */

void buffer_set_free_hook(buffer_free_hook_fn *undertaker) {
    buffer_free_hook = undertaker;
}

static void buffer_free(struct berth_buffer *buffer) {
    if (buffer_free_hook) {
        buffer_free_hook(buffer);
    } else {
        buffer_free_now(buffer);
    }
}

void buffer_free_now(struct berth_buffer *buffer) {
    struct buffer_pool *pool = buffer->pool;
    os_pages_free(buffer->bytes, buffer->capacity);
    handle_free(&buffer->handle);
    if (pool) {
        pool_drop_holder(pool);
    }
}

struct buffer_pool *buffer_pool_create(uint32_t buffer_bytes, uint32_t retained_max) {
    struct buffer_pool *pool = alloc_zeroed(sizeof(*pool));
    if (pool) {
        atomic_init(&pool->owner, os_thread_id());
        pool->buffer_bytes = buffer_bytes;
        pool->retained_max = retained_max;
        atomic_init(&pool->returned, NULL);
        atomic_init(&pool->holders, 1);
    }
    return pool;
}

static void free_list(struct berth_buffer *list) {
    while (list) {
        struct berth_buffer *next = list->next;
        buffer_free(list);
        list = next;
    }
}

void buffer_pool_close(struct buffer_pool *pool) {
    if (!pool) {
        return;
    }
    ASSERT(pool_is_mine(pool));
    struct berth_buffer *home =
        atomic_exchange_explicit(&pool->returned, &closed_mark, memory_order_acq_rel);
    struct berth_buffer *kept = pool->free;
    atomic_store_explicit(&pool->owner, 0, memory_order_relaxed);
    pool->free = NULL;
    pool->free_count = 0;
    free_list(home);
    free_list(kept);
    pool_drop_holder(pool);
}

static void pool_keep(struct buffer_pool *pool, struct berth_buffer *buffer) {
    if (pool->free_count >= pool->retained_max) {
        buffer_free(buffer);
        return;
    }
    buffer->next = pool->free;
    pool->free = buffer;
    pool->free_count++;
}

static void pool_collect_returned(struct buffer_pool *pool) {
    struct berth_buffer *list =
        atomic_exchange_explicit(&pool->returned, NULL, memory_order_acquire);
    while (list) {
        struct berth_buffer *next = list->next;
        pool_keep(pool, list);
        list = next;
    }
}

bool buffer_pool_trim(struct buffer_pool *pool, uint32_t left) {
    pool_collect_returned(pool);
    bool any = pool->free_count > left;
    while (pool->free_count > left) {
        struct berth_buffer *buffer = pool->free;
        pool->free = buffer->next;
        pool->free_count--;
        buffer_free(buffer);
    }
    return any;
}

void buffer_pool_retain(struct buffer_pool *pool, uint32_t retained_max) {
    pool->retained_max = retained_max;
    buffer_pool_trim(pool, retained_max);
}

struct berth_buffer *buffer_create(uint32_t capacity) {
    struct berth_buffer *buffer = handle_alloc(sizeof(*buffer));
    if (!buffer) {
        return NULL;
    }
    buffer->bytes = os_pages_alloc(capacity);
    if (!buffer->bytes) {
        handle_free(&buffer->handle);
        return NULL;
    }
    buffer->capacity = capacity;
    handle_begin(&buffer->handle);
    return buffer;
}

struct berth_buffer *buffer_take(struct buffer_pool *pool) {
    if (!pool->free && atomic_load_explicit(&pool->returned, memory_order_relaxed)) {
        pool_collect_returned(pool);
    }
    struct berth_buffer *buffer = pool->free;
    if (buffer) {
        pool->free = buffer->next;
        pool->free_count--;
        buffer->next = NULL;
        handle_begin(&buffer->handle);
        return buffer;
    }
    buffer = buffer_create(pool->buffer_bytes);
    if (buffer) {
        buffer->pool = pool;
        atomic_fetch_add_explicit(&pool->holders, 1, memory_order_relaxed);
    }
    return buffer;
}

/* The last reference is released. */
static void buffer_go_home(struct berth_buffer *buffer) {
    struct buffer_pool *pool = buffer->pool;
    struct handle_holder *holder = atomic_load_explicit(&buffer->holder, memory_order_relaxed);
    if (holder) {
        atomic_store_explicit(&buffer->holder, NULL, memory_order_relaxed);
        holder->count(holder, -1);
    }
    if (!pool) {
        buffer_free(buffer);
        return;
    }
    if (pool_is_mine(pool)) {
        pool_keep(pool, buffer);
        return;
    }
    struct berth_buffer *top = atomic_load_explicit(&pool->returned, memory_order_relaxed);
    do {
        if (top == &closed_mark) {
            buffer_free(buffer);
            return;
        }
        buffer->next = top;
    } while (!atomic_compare_exchange_weak_explicit(&pool->returned, &top, buffer,
                                                    memory_order_release, memory_order_relaxed));
}

bool buffer_is_exclusive(const struct berth_buffer *buffer) {
    return handle_is_exclusive(&buffer->handle);
}

/* Threads may share one reference, and each acquires its own through it. So even if the count is
 * one, the instruction must be locked. */
void buffer_acquire(struct berth_buffer *buffer) {
    handle_acquire(&buffer->handle);
}

bool buffer_plugin_releases(struct berth_buffer *given) {
    struct berth_buffer *buffer = handle_object(given);
    /* The plugin's reference becomes the host's, which releases it: at no moment is the count
     * zero. */
    bool released = handle_plugin_hands_over(given);
    if (released) {
        buffer_release(buffer);
    }
    return released;
}

void buffer_note_holder(struct berth_buffer *buffer, struct handle_holder *holder) {
    /* The first holder counts it; it is subtracted once, when the buffer returns to its pool. */
    struct handle_holder *nobody = NULL;
    if (!holder || atomic_load_explicit(&buffer->holder, memory_order_relaxed)) {
        return;
    }
    if (atomic_compare_exchange_strong_explicit(&buffer->holder, &nobody, holder,
                                                memory_order_relaxed, memory_order_relaxed)) {
        holder->count(holder, 1);
    }
}

void buffer_release(struct berth_buffer *buffer) {
    if (buffer && handle_release(&buffer->handle)) {
        buffer_go_home(buffer);
    }
}

uint32_t buffer_pool_live(const struct buffer_pool *pool) {
    return atomic_load_explicit(&pool->holders, memory_order_relaxed) - 1;
}

uint32_t buffer_pool_free(const struct buffer_pool *pool) {
    return pool->free_count;
}
