/* Buffers: which ones the plugin holds, the guard areas after them, and the released ones. */
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/alloc.h"
#include "devkit/layer.h"
#include "net/conn/connection.h"
#include "net/lib/buffer.h"
#include "net/run/worker.h"
#include "plugin/callback_guard.h"

enum {
    GUARD = 0xA5,
    DEAD_BYTES_MAX = 16 * 1024 * 1024, /* of released buffers that are still checked */
    SENDING_MAX = 256,
    SENDING_BYTES_MAX = 256 * 1024, /* of one slice: a longer one is not checked */
};

/* The pattern that fills a released buffer: no text contains it by chance. */
static const uint8_t poison[8] = {0xDD, 0x9E, 0xB1, 0xF3, 0x8C, 0xE5, 0xA7, 0xD2};

static struct berth_buffer *object_of(struct berth_buffer *given) {
    return handle_object(given);
}

/* The plugin's references, by a current handle; 0: none, or the handle is stale. */
static uint64_t plugin_count(const struct berth_buffer *given) {
    return handle_change(given, HANDLE_COUNT_OF_PLUGIN, 0) & HANDLE_COUNT_OF_PLUGIN;
}

static bool is_of_today(const struct berth_buffer *given) {
    return handle_change(given, HANDLE_COUNTS, 0) != 0;
}

static bool layer_buffer_is_ours(const struct layer_buffer *one) {
    return one->is_shown || plugin_count(one->given) > 0;
}

static struct layer_buffer *layer_buffer_find(struct testbed *bed,
                                              const struct berth_buffer *given) {
    struct layer_buffer *one;
    DL_FOREACH(bed->buffers, one) {
        if (one->given == given) {
            return one;
        }
    }
    return NULL;
}

static void check_guard(struct testbed *bed, struct layer_buffer *one) {
    for (unsigned i = 0; one->has_guard && i < LAYER_GUARD_BYTES; i++) {
        if (one->bytes[one->size + i] != GUARD) {
            layer_find(bed, "buffer-overrun",
                       "bytes behind the end of a buffer of %u bytes were overwritten",
                       (unsigned)one->size);
            memset(one->bytes + one->size, GUARD, LAYER_GUARD_BYTES);
            return;
        }
    }
}

static struct layer_buffer *layer_buffer_note(struct testbed *bed, const struct berth_slice *slice,
                                              uint32_t size, bool has_guard, const char *callback) {
    struct layer_buffer *one = alloc_zeroed(sizeof(*one));
    if (one) {
        one->given = slice->buffer;
        one->bytes = slice->bytes;
        one->size = size;
        one->has_guard = has_guard;
        snprintf(one->callback, sizeof(one->callback), "%s", callback);
        if (has_guard) {
            memset(one->bytes + size, GUARD, LAYER_GUARD_BYTES);
        }
        os_mutex_lock(&bed->mutex);
        DL_APPEND(bed->buffers, one);
        os_mutex_unlock(&bed->mutex);
    }
    return one;
}

static void layer_buffer_drop(struct testbed *bed, struct layer_buffer *one) {
    os_mutex_lock(&bed->mutex);
    DL_DELETE(bed->buffers, one);
    os_mutex_unlock(&bed->mutex);
    alloc_free(one);
}

/* The guard area begins at the end of the buffer's bytes. The bytes are filled with 0xCC, so that
 * unfilled ones show in the answer. */
void layer_buffer_made(struct testbed *bed, struct berth_slice *slice) {
    bool has_guard = slice->size > LAYER_GUARD_BYTES;
    slice->size -= has_guard ? LAYER_GUARD_BYTES : 0;
    memset(slice->bytes, 0xCC, slice->size);
    struct layer_buffer *one =
        layer_buffer_note(bed, slice, slice->size, has_guard, testbed_callback());
    if (one) {
        one->is_made = true;
    }
}

/* The space after the received bytes is the host's, and is unused while a callback has the slice:
 * it becomes the guard area. */
struct layer_buffer *layer_buffer_show(struct testbed *bed, const struct berth_slice *slice,
                                       const char *callback) {
    const struct berth_buffer *buffer = object_of(slice->buffer);
    struct layer_buffer *one = NULL;
    if (buffer) {
        uint64_t end = (uint64_t)(slice->bytes - buffer->bytes) + slice->size;
        bool has_guard = end + LAYER_GUARD_BYTES <= buffer->capacity;
        one = layer_buffer_find(bed, slice->buffer);
        if (one) { /* the plugin kept it, and it is passed again */
            layer_buffer_drop(bed, one);
        }
        one = layer_buffer_note(bed, slice, slice->size, has_guard, callback);
    }
    if (one) {
        one->is_shown = true;
    }
    return one;
}

void layer_buffer_shown(struct testbed *bed, struct layer_buffer *lent) {
    if (lent) {
        check_guard(bed, lent);
        lent->is_shown = false;
        lent->has_guard = false; /* the host may receive more bytes there */
        if (plugin_count(lent->given) == 0) {
            layer_buffer_drop(bed, lent);
        }
    }
}

void layer_buffer_acquire(struct testbed *bed, struct berth_buffer *given) {
    if (given && !is_of_today(given)) {
        layer_find(bed, "buffer-acquired-after-release",
                   "a buffer was acquired after its last reference was given back");
    }
}

void layer_buffer_release(struct testbed *bed, struct berth_buffer *given) {
    if (!given) {
        return;
    }
    os_mutex_lock(&bed->mutex);
    struct layer_buffer *one = layer_buffer_find(bed, given);
    os_mutex_unlock(&bed->mutex);
    if (plugin_count(given) == 0) {
        if (one && one->is_shown && is_of_today(given)) {
            layer_find(bed, "borrowed-buffer-released",
                       "%s() gave back a buffer that was only lent to it", testbed_callback());
        } else {
            layer_find(bed, "buffer-released-twice",
                       "a reference to a buffer was given back that was given back before");
        }
        return;
    }
    if (one) {
        check_guard(bed, one);
        if (!one->is_shown && plugin_count(given) == HANDLE_ONE_OF_PLUGIN) {
            layer_buffer_drop(bed, one);
        }
    }
}

/* -- what is sent ---------------------------------------------------------- */

static uint64_t layer_buffer_hash_of(const uint8_t *bytes, uint32_t size) {
    uint64_t hash = UINT64_C(14695981039346656037);
    for (uint32_t i = 0; i < size; i++) {
        hash = (hash ^ bytes[i]) * UINT64_C(1099511628211);
    }
    return hash;
}

void layer_slice_queued(struct testbed *bed, const struct berth_slice *slice,
                        const struct berth_conn *conn) {
    const struct connection *connection = (const struct connection *)conn;
    const struct send_queue *queue = &connection->io->queue;
    unsigned count = 0;
    struct layer_sending *one;
    DL_COUNT(bed->sending, one, count);
    if (count >= SENDING_MAX || slice->size > SENDING_BYTES_MAX || !slice->buffer) {
        return;
    }
    one = alloc_zeroed(sizeof(*one));
    if (one) {
        one->given = slice->buffer;
        one->bytes = slice->bytes;
        one->size = slice->size;
        one->hash = layer_buffer_hash_of(slice->bytes, slice->size);
        one->to = layer_conn_of(bed, conn);
        one->sent_at = connection->bytes_sent + queue->bytes + queue->file_bytes;
        DL_APPEND(bed->sending, one);
    }
}

void layer_slice(struct testbed *bed, const struct berth_slice *slice, const char *service) {
    struct berth_buffer *buffer = object_of(slice->buffer);
    if (slice->reserved != 0) {
        layer_find(bed, "slice-reserved", "%s() was given a slice whose `reserved` is %u", service,
                   (unsigned)slice->reserved);
        return;
    }
    if (!buffer) {
        if (slice->size > 0) {
            layer_find(bed, "slice-without-buffer", "%s() was given a slice without a buffer",
                       service);
        }
        return;
    }
    if (plugin_count(slice->buffer) == 0) {
        layer_find(bed, "buffer-used-after-release",
                   "%s() was given a buffer of which it holds no reference: what is lent is to be "
                   "acquired first, while it is lent",
                   service);
        return;
    }
    struct layer_buffer *one = layer_buffer_find(bed, slice->buffer);
    uint32_t room = one && one->is_made ? one->size : buffer->capacity;
    uint64_t offset = (uintptr_t)slice->bytes - (uintptr_t)buffer->bytes;
    if (slice->size > 0 && (offset > room || offset + slice->size > room)) {
        layer_find(bed, "slice-outside-buffer",
                   "%s() was given a slice of %u bytes that is not inside its buffer of %u",
                   service, (unsigned)slice->size, (unsigned)room);
        return;
    }
    if (one) {
        check_guard(bed, one);
    }
}

static bool layer_buffer_is_inside(const uint8_t *bytes, const uint8_t *of, uint64_t size) {
    return bytes >= of && bytes < of + size;
}

void layer_bytes(struct testbed *bed, const void *bytes, uint32_t size, const char *service) {
    const struct layer_dead *dead;
    if (size == 0) {
        return;
    }
    DL_FOREACH(bed->dead, dead) {
        if (layer_buffer_is_inside(bytes, dead->buffer->bytes, dead->buffer->capacity)) {
            layer_find(bed, "buffer-used-after-release",
                       "%s() was given bytes of a buffer that has been given back: what is lent "
                       "is to be acquired, or copied, while it is lent",
                       service);
            return;
        }
    }
}

static void drop_sending(struct testbed *bed, struct layer_sending *sent) {
    DL_DELETE(bed->sending, sent);
    alloc_free(sent);
}

/* At the end of a callback: checks that queued slices have not been changed. */
void layer_buffers_look(struct testbed *bed) {
    struct layer_buffer *one;
    DL_FOREACH(bed->buffers, one) {
        if (layer_buffer_is_ours(one)) {
            check_guard(bed, one);
        }
    }
    struct layer_sending *sent;
    struct layer_sending *next;
    DL_FOREACH_SAFE(bed->sending, sent, next) {
        bool on_its_way = sent->to && !sent->to->is_over &&
                          connection_of(sent->to->conn)->bytes_sent < sent->sent_at;
        if (on_its_way && layer_buffer_hash_of(sent->bytes, sent->size) != sent->hash) {
            layer_find(bed, "buffer-written-while-sent",
                       "bytes of a buffer were changed before they were sent");
            on_its_way = false;
        }
        if (!on_its_way) {
            drop_sending(bed, sent);
        }
    }
}

/* -- released buffers ------------------------------------------------------ */

static bool is_poison(const uint8_t *bytes, uint32_t size) {
    uint32_t first = size < sizeof(poison) ? size : (uint32_t)sizeof(poison);
    return memcmp(bytes, poison, first) == 0 &&
           (size == first || memcmp(bytes, bytes + first, size - first) == 0);
}

static void layer_buffer_free_oldest(struct testbed *bed) {
    struct layer_dead *dead = bed->dead;
    struct berth_buffer *buffer = dead->buffer;
    bool same = is_poison(buffer->bytes, buffer->capacity);
    for (uint32_t i = 0; !same && i < buffer->capacity; i++) {
        if (buffer->bytes[i] != poison[i % sizeof(poison)]) {
            layer_find(bed, "buffer-written-after-release",
                       "byte %u of a buffer was written after its last reference was given back",
                       (unsigned)i);
            break;
        }
    }
    DL_DELETE(bed->dead, dead);
    bed->dead_bytes -= buffer->capacity;
    buffer_free_now(buffer);
    alloc_free(dead);
}

static void fill_with_poison(uint8_t *bytes, uint32_t size) {
    for (uint32_t i = 0; i < size;) {
        uint32_t most = i == 0 ? (uint32_t)sizeof(poison) : i; /* doubles each time */
        uint32_t count = size - i < most ? size - i : most;
        memcpy(bytes + i, i == 0 ? poison : bytes, count);
        i += count;
    }
}

/* Checks that an answer contains nothing of released buffers. The last bytes of the previous piece
 * are included again. */
void layer_answer(struct testbed *bed, const uint8_t *bytes, size_t size) {
    const uint8_t *end = bytes + size;
    while ((size_t)(end - bytes) >= sizeof(poison)) {
        bytes = memchr(bytes, poison[0], (size_t)(end - bytes) - sizeof(poison) + 1);
        if (!bytes) {
            return;
        }
        if (memcmp(bytes, poison, sizeof(poison)) == 0) {
            layer_find(bed, "buffer-read-after-release",
                       "what it has sent is what was read from a buffer that had been given back: "
                       "what is lent is to be acquired, or copied, while it is lent");
            return;
        }
        bytes++;
    }
}

/* Removes the records of this buffer. */
static void layer_buffer_forget(struct testbed *bed, const struct berth_buffer *buffer) {
    struct layer_sending *sent;
    struct layer_sending *next_sent;
    DL_FOREACH_SAFE(bed->sending, sent, next_sent) {
        if (object_of(sent->given) == buffer) {
            drop_sending(bed, sent);
        }
    }
    struct layer_buffer *one;
    struct layer_buffer *next;
    DL_FOREACH_SAFE(bed->buffers, one, next) {
        if (object_of(one->given) == buffer && !one->is_shown) {
            layer_buffer_drop(bed, one);
        }
    }
}

/* Uses any testbed: the buffer's owner is unknown, and there are two testbeds only in the check of
 * parallel generations. */
void layer_buffer_retire(struct berth_buffer *buffer) {
    struct testbed *bed = testbed_first();
    struct testbed *each;
    DL_FOREACH(testbed_first(), each) {
        layer_buffer_forget(each, buffer);
    }
    struct layer_dead *dead = bed && !bed->ended ? alloc_zeroed(sizeof(*dead)) : NULL;
    if (!dead || (worker_current() == NULL && os_thread_id() != bed->thread)) {
        alloc_free(dead);
        buffer_free_now(buffer);
        return;
    }
    dead->buffer = buffer;
    fill_with_poison(buffer->bytes, buffer->capacity);
    DL_APPEND(bed->dead, dead);
    bed->dead_bytes += buffer->capacity;
    while (bed->dead_bytes > DEAD_BYTES_MAX) {
        layer_buffer_free_oldest(bed);
    }
}

/* -- the end --------------------------------------------------------------- */

void layer_buffers_end(struct testbed *bed) {
    while (bed->buffers) {
        struct layer_buffer *one = bed->buffers;
        DL_DELETE(bed->buffers, one); /* releasing the buffer would free the record, too */
        uint64_t count = plugin_count(one->given) / HANDLE_ONE_OF_PLUGIN;
        if (count > 0) {
            layer_find(bed, "buffer-leaked",
                       "a buffer of %u bytes, %s `%s`, was never given back (%u references left)",
                       (unsigned)one->size, one->is_made ? "made in" : "lent in", one->callback,
                       (unsigned)count);
            check_guard(bed, one);
            while (buffer_plugin_releases(one->given)) {
            }
        }
        alloc_free(one);
    }
    while (bed->sending) {
        struct layer_sending *sent = bed->sending;
        DL_DELETE(bed->sending, sent);
        alloc_free(sent);
    }
    while (bed->dead) {
        layer_buffer_free_oldest(bed);
    }
}
