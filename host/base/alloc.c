#include "base/alloc.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { SMALL_BYTES = 1024 };

/* On a cache line of its own: every worker reads it once a turn. */
static _Alignas(64) atomic_ulong failures;
static _Thread_local unsigned long thread_failures;
static _Thread_local alloc_reclaim_fn *thread_reclaim;
static _Thread_local void *reclaim_context;
static _Thread_local bool reclaiming;

static _Alignas(64) atomic_long fail_countdown = -1;
static atomic_bool fail_all;
static atomic_long live;
static atomic_long total;
static _Atomic(void *) late[ALLOC_LATE_MAX];
static atomic_uint late_next;

static void alloc_note_failure(void) {
    thread_failures++;
    atomic_fetch_add_explicit(&failures, 1, memory_order_relaxed);
}

bool alloc_fails_now(void) {
    if (atomic_load_explicit(&fail_countdown, memory_order_relaxed) < 0) {
        return false;
    }
    if (atomic_fetch_sub(&fail_countdown, 1) > 0) {
        return false;
    }
    atomic_store(&fail_countdown, atomic_load(&fail_all) ? 0 : -1);
    alloc_note_failure();
    return true;
}

bool alloc_failed(void) {
    alloc_note_failure();
    if (!thread_reclaim || reclaiming) {
        return false;
    }
    reclaiming = true;
    bool reclaimed = thread_reclaim(reclaim_context);
    reclaiming = false;
    return reclaimed;
}

void alloc_set_reclaim(alloc_reclaim_fn *reclaim, void *context) {
    thread_reclaim = reclaim;
    reclaim_context = context;
}

unsigned long alloc_failures(void) {
    return atomic_load_explicit(&failures, memory_order_relaxed);
}

unsigned long alloc_thread_failures(void) {
    return thread_failures;
}

static void *alloc_counted(void *memory) {
    if (memory) {
        atomic_fetch_add_explicit(&live, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&total, 1, memory_order_relaxed);
    }
    return memory;
}

/* glibc's calloc() does not use the thread's own cache, in which malloc() finds blocks that were
 * freed just before. */
static void *alloc_take_zeroed(size_t size) {
    if (size > SMALL_BYTES) {
        return calloc(1, size);
    }
    void *memory = malloc(size ? size : 1);
    return memory ? memset(memory, 0, size) : NULL;
}

void *alloc_zeroed(size_t size) {
    if (alloc_fails_now()) {
        return NULL;
    }
    void *memory = alloc_take_zeroed(size);
    if (!memory && alloc_failed()) {
        memory = alloc_take_zeroed(size);
    }
    return alloc_counted(memory);
}

void *alloc_array(size_t count, size_t size) {
    if (size != 0 && count > SIZE_MAX / size) {
        return NULL;
    }
    return alloc_zeroed(count * size);
}

void *alloc_resize(void *memory, size_t size) {
    if (alloc_fails_now()) {
        return NULL;
    }
    void *moved = realloc(memory, size ? size : 1);
    if (!moved && alloc_failed()) {
        moved = realloc(memory, size ? size : 1);
    }
    return memory ? moved : alloc_counted(moved);
}

char *alloc_string(const char *text) {
    size_t size = strlen(text) + 1;
    char *copy = alloc_zeroed(size);
    if (copy) {
        memcpy(copy, text, size);
    }
    return copy;
}

static atomic_bool keeps_freed;

void alloc_keep_freed(bool keep) {
    atomic_store(&keeps_freed, keep);
}

void alloc_free(void *memory) {
    if (atomic_load_explicit(&keeps_freed, memory_order_relaxed)) {
        alloc_free_late(memory);
    } else if (memory) {
        atomic_fetch_sub_explicit(&live, 1, memory_order_relaxed);
        free(memory);
    }
}

void alloc_free_late(void *memory) {
    if (memory) {
        unsigned index = atomic_fetch_add_explicit(&late_next, 1, memory_order_relaxed);
        atomic_fetch_sub_explicit(&live, 1, memory_order_relaxed);
        free(atomic_exchange(&late[index % ALLOC_LATE_MAX], memory));
    }
}

void alloc_fail_after(long countdown, bool all_that_follow) {
    atomic_store(&fail_all, all_that_follow);
    atomic_store(&fail_countdown, countdown);
}

long alloc_live(void) {
    return atomic_load(&live);
}

long alloc_total(void) {
    return atomic_load(&total);
}
