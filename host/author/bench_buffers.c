/* The buffers of the bench: each alone in its memory, guarded behind, poisoned when given back. */
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "author/bench_internal.h"
#include "base/alloc.h"

enum {
    GUARD = 0xA5,
    POISON = 0xDD,
    RELEASED_BYTES_MAX = 16 * 1024 * 1024, /* of given-back buffers that are still watched */
};

void bench_guard_write(uint8_t *guard) {
    memset(guard, GUARD, BENCH_GUARD_BYTES);
}

bool bench_guard_is_whole(const uint8_t *guard) {
    for (unsigned i = 0; i < BENCH_GUARD_BYTES; i++) {
        if (guard[i] != GUARD) {
            return false;
        }
    }
    return true;
}

struct bench_buffer *bench_buffer_new(struct bench *bench, uint32_t size, const char *lent_in) {
    struct bench_buffer *buffer = alloc_zeroed(sizeof(*buffer) + (size_t)size + BENCH_GUARD_BYTES);
    if (!buffer) {
        return NULL;
    }
    buffer->bench = bench;
    buffer->references = 1;
    buffer->size = size;
    buffer->by_plugin = !lent_in;
    snprintf(buffer->callback, sizeof(buffer->callback), "%s",
             lent_in ? lent_in : bench_callback());
    memset(buffer->bytes, 0xCC, size); /* what a plugin forgets to fill is seen in the answer */
    bench_guard_write(buffer->bytes + size);
    os_mutex_lock(&bench->mutex);
    DL_APPEND(bench->buffers, buffer);
    os_mutex_unlock(&bench->mutex);
    return buffer;
}

static void check_guard(struct bench_buffer *buffer) {
    if (!bench_guard_is_whole(buffer->bytes + buffer->size)) {
        bench_find(buffer->bench, "buffer-overrun",
                   "bytes behind the end of a buffer of %u bytes were overwritten",
                   (unsigned)buffer->size);
    }
}

/* Ends the watch over one that was given back. */
static void forget(struct bench *bench, struct bench_buffer *buffer) {
    for (uint32_t i = 0; i < buffer->size; i++) {
        if (buffer->bytes[i] != POISON) {
            bench_find(bench, "buffer-written-after-release",
                       "byte %u of a buffer was written after its last reference was given back",
                       (unsigned)i);
            break;
        }
    }
    DL_DELETE(bench->released, buffer);
    bench->released_bytes -= buffer->size;
    alloc_free(buffer);
}

void bench_buffer_acquire(struct berth_buffer *handle) {
    struct bench_buffer *buffer = (struct bench_buffer *)handle;
    struct bench *bench = buffer ? buffer->bench : NULL;
    if (!bench) {
        return; /* NULL is not legal here, but harmless */
    }
    os_mutex_lock(&bench->mutex);
    bool dead = buffer->references == 0;
    buffer->references += dead ? 0 : 1;
    os_mutex_unlock(&bench->mutex);
    if (dead) {
        bench_find(bench, "buffer-acquired-after-release",
                   "a buffer was acquired after its last reference was given back");
    }
}

void bench_buffer_release(struct berth_buffer *handle) {
    struct bench_buffer *buffer = (struct bench_buffer *)handle;
    if (!buffer) {
        return;
    }
    struct bench *bench = buffer->bench;
    os_mutex_lock(&bench->mutex);
    bool dead = buffer->references == 0;
    bool last = buffer->references == 1;
    buffer->references -= dead ? 0 : 1;
    if (last) {
        DL_DELETE(bench->buffers, buffer);
        DL_APPEND(bench->released, buffer);
        bench->released_bytes += buffer->size;
    }
    os_mutex_unlock(&bench->mutex);
    if (dead) {
        bench_find(bench, "buffer-released-twice",
                   "a reference to a buffer was given back that was given back before");
    }
    if (last) {
        check_guard(buffer);
        memset(buffer->bytes, POISON, buffer->size);
        while (bench->released && bench->released_bytes > RELEASED_BYTES_MAX) {
            forget(bench, bench->released);
        }
    }
}

bool bench_slice_is_good(struct bench *bench, const struct berth_slice *slice,
                         const char *service) {
    const struct bench_buffer *buffer = (const struct bench_buffer *)slice->buffer;
    if (slice->reserved != 0) {
        bench_find(bench, "slice-reserved", "%s() was given a slice whose `reserved` is %u",
                   service, (unsigned)slice->reserved);
        return false;
    }
    if (!buffer) {
        if (slice->size > 0) {
            bench_find(bench, "slice-without-buffer", "%s() was given a slice without a buffer",
                       service);
        }
        return slice->size == 0;
    }
    if (buffer->references == 0) {
        bench_find(bench, "buffer-used-after-release",
                   "%s() was given a buffer whose last reference was given back before", service);
        return false;
    }
    uint64_t offset = (uintptr_t)slice->bytes - (uintptr_t)buffer->bytes;
    if (slice->size > 0 && (offset > buffer->size || offset + slice->size > buffer->size)) {
        bench_find(bench, "slice-outside-buffer",
                   "%s() was given a slice of %u bytes that is not inside its buffer of %u",
                   service, (unsigned)slice->size, (unsigned)buffer->size);
        return false;
    }
    return true;
}

bool bench_slice_take(struct bench *bench, const struct berth_slice *slice, const char *service) {
    const struct bench_buffer *buffer = (const struct bench_buffer *)slice->buffer;
    bool good = bench_slice_is_good(bench, slice, service);
    if (!good && buffer && buffer->references > 0) {
        bench_buffer_release(slice->buffer); /* consumed all the same */
    }
    return good;
}

void bench_buffers_check_left(struct bench *bench) {
    struct bench_buffer *buffer;
    DL_FOREACH(bench->buffers, buffer) {
        bench_find(bench, "buffer-leaked",
                   "a buffer of %u bytes, %s `%s`, was never given back (%u references left)",
                   (unsigned)buffer->size, buffer->by_plugin ? "made in" : "lent in",
                   buffer->callback, (unsigned)buffer->references);
        check_guard(buffer);
    }
    while (bench->released) {
        forget(bench, bench->released);
    }
}

void bench_buffers_free(struct bench *bench) {
    struct bench_buffer *buffer;
    struct bench_buffer *next;
    while (bench->released) {
        forget(bench, bench->released);
    }
    DL_FOREACH_SAFE(bench->buffers, buffer, next) {
        DL_DELETE(bench->buffers, buffer);
        alloc_free(buffer);
    }
}
