/* handle.h: what a plugin gets in place of a buffer or a file of the host.
 *
 * A plugin may release what it does not hold, or use what it has given back long ago. The object
 * may then belong to another connection, whose bytes must not be exposed. So an object counts the
 * references of plugins apart from those of the host: a plugin cannot release more than it has
 * acquired, and what the host has passed to it in a callback or sends stays the host's. And an
 * object that has ended gets another tag: a handle is the object's address plus its tag, so a
 * handle from before the end differs from a later one. (Tags repeat after HANDLE_TAGS ends; then
 * only the counts protect.)
 *
 * One word holds tag and counts. An action of a plugin changes it only if it is allowed, by one
 * compare-and-exchange; an action of the host on a reference of its own costs what it did without
 * handles.
 *
 * Owner: the object, whose first member it is. Threads: any. */
#ifndef BERTH_HOST_NET_LIB_HANDLE_H
#define BERTH_HOST_NET_LIB_HANDLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Objects are aligned to it: the bits below are the handle's tag. */
#define HANDLE_TAGS 64u

#define HANDLE_TAG_SHIFT 56
#define HANDLE_ONE_TAG (UINT64_C(1) << HANDLE_TAG_SHIFT)
#define HANDLE_TAG ((uint64_t)(HANDLE_TAGS - 1) << HANDLE_TAG_SHIFT)
#define HANDLE_ONE_OF_PLUGIN (UINT64_C(1) << 28)
#define HANDLE_COUNTS ((UINT64_C(1) << HANDLE_TAG_SHIFT) - 1)
#define HANDLE_COUNT_OF_PLUGIN (HANDLE_COUNTS & ~(HANDLE_ONE_OF_PLUGIN - 1))

/* Counts what its owner has of the host's objects: one more, or one less. [any] */
struct handle_holder {
    void (*count)(struct handle_holder *holder, int change);
};

struct handle {
    atomic_ullong word; /* tag, references of plugins, references of the host */
    void *memory;       /* that contains the object */
};

/* An object of that size, zeroed, that begins with its handle; NULL: no memory. It has ended. */
void *handle_alloc(size_t size);
void handle_free(struct handle *handle); /* the memory is kept for a while, for late handles */

/* The object of a handle; NULL for NULL. A handle that no plugin was ever given is not detected. */
static inline void *handle_object(const void *given) {
    return (char *)given - ((uintptr_t)given & (HANDLE_TAGS - 1));
}

static inline uint64_t handle_word(const struct handle *handle) {
    return atomic_load_explicit(&handle->word, memory_order_relaxed);
}

/* The handle that a plugin gets for the object. */
static inline void *handle_give(struct handle *handle) {
    return (char *)handle + (handle_word(handle) >> HANDLE_TAG_SHIFT);
}

/* Begins again, with one reference of the host's. The caller has exclusive access. */
static inline void handle_begin(struct handle *handle) {
    atomic_store_explicit(&handle->word, (handle_word(handle) & ~HANDLE_COUNTS) + 1,
                          memory_order_relaxed);
}

/* The host's only reference becomes the plugin's. The caller has exclusive access. */
static inline void handle_pass(struct handle *handle) {
    atomic_store_explicit(&handle->word,
                          (handle_word(handle) & ~HANDLE_COUNTS) + HANDLE_ONE_OF_PLUGIN,
                          memory_order_relaxed);
}

static inline bool handle_is_exclusive(const struct handle *handle) {
    return (atomic_load_explicit(&handle->word, memory_order_acquire) & HANDLE_COUNTS) == 1;
}

/* One more reference of the host's. The other: one less; true if it was the last, and the object
 * has ended. */
static inline void handle_acquire(struct handle *handle) {
    atomic_fetch_add_explicit(&handle->word, 1, memory_order_relaxed);
}

static inline bool handle_release(struct handle *handle) {
    uint64_t word = atomic_load_explicit(&handle->word, memory_order_acquire);
    if ((word & HANDLE_COUNTS) != 1) {
        word = atomic_fetch_sub_explicit(&handle->word, 1, memory_order_acq_rel);
    }
    if ((word & HANDLE_COUNTS) != 1) {
        return false;
    }
    /* The next tag, and no references. */
    atomic_store_explicit(&handle->word, (word + HANDLE_ONE_TAG - 1) & HANDLE_TAG,
                          memory_order_relaxed);
    return true;
}

/* -- plugin operations ----------------------------------------------------- */

/* Adds `change` to the word if the handle's tag is current and the counts include `needed`. Returns
 * the previous counts, or 0: it is not allowed, and nothing is changed. */
static inline uint64_t handle_change(const void *given, uint64_t needed, uint64_t change) {
    struct handle *handle = handle_object(given);
    uint64_t tag = (uintptr_t)given & (HANDLE_TAGS - 1);
    unsigned long long word = handle_word(handle);
    do {
        if (word >> HANDLE_TAG_SHIFT != tag || (word & needed) == 0) {
            return 0;
        }
    } while (!atomic_compare_exchange_weak_explicit(&handle->word, &word, word + change,
                                                    memory_order_acq_rel, memory_order_relaxed));
    return word & HANDLE_COUNTS;
}

/* The plugin acquires a reference of an object that is passed to it or that it holds. False: it may
 * not. */
static inline bool handle_plugin_acquires(const void *given) {
    return handle_change(given, HANDLE_COUNTS, HANDLE_ONE_OF_PLUGIN) != 0;
}

/* The plugin hands a reference over to the host. False: it has none. */
static inline bool handle_plugin_hands_over(const void *given) {
    return handle_change(given, HANDLE_COUNT_OF_PLUGIN, 1 - HANDLE_ONE_OF_PLUGIN) != 0;
}

#endif
