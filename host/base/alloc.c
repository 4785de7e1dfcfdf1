#include "base/alloc.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { SMALL_BYTES = 1024 };

static atomic_long fail_countdown = -1;
static atomic_bool fail_all;
static atomic_long live;
static atomic_long total;

bool alloc_fails_now(void) {
    if (atomic_load_explicit(&fail_countdown, memory_order_relaxed) < 0) {
        return false;
    }
    if (atomic_fetch_sub(&fail_countdown, 1) > 0) {
        return false;
    }
    atomic_store(&fail_countdown, atomic_load(&fail_all) ? 0 : -1);
    return true;
}

static void *counted(void *memory) {
    if (memory) {
        atomic_fetch_add_explicit(&live, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&total, 1, memory_order_relaxed);
    }
    return memory;
}

/* glibc's calloc() does not look into the thread's own cache, where malloc() finds what has just
 * been freed. */
static void *zeroed(size_t size) {
    if (size > SMALL_BYTES) {
        return calloc(1, size);
    }
    void *memory = malloc(size ? size : 1);
    return memory ? memset(memory, 0, size) : NULL;
}

void *alloc_zeroed(size_t size) {
    return alloc_fails_now() ? NULL : counted(zeroed(size));
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
    return memory ? moved : counted(moved);
}

char *alloc_string(const char *text) {
    size_t size = strlen(text) + 1;
    char *copy = alloc_zeroed(size);
    if (copy) {
        memcpy(copy, text, size);
    }
    return copy;
}

void alloc_free(void *memory) {
    if (memory) {
        atomic_fetch_sub_explicit(&live, 1, memory_order_relaxed);
        free(memory);
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
