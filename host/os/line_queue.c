#include "os/line_queue.h"

#include <string.h>

#include "base/log.h"

enum {
    RETRY_MS = 100,   /* for a stream that takes nothing for now */
    END_GRACE_MS = 50 /* for the thread to end, once it has nothing to write */
};

/* -- the ring; under the mutex --------------------------------------------- */

static void ring_write(struct line_queue *queue, const char *bytes, size_t size) {
    size_t end = (queue->begin + queue->used) % queue->size;
    size_t first = queue->size - end < size ? queue->size - end : size;
    memcpy(queue->ring + end, bytes, first);
    memcpy(queue->ring, bytes + first, size - first);
    queue->used += size;
    atomic_fetch_add(&queue->pending, size);
}

static void ring_copy(const struct line_queue *queue, char *bytes, size_t size) {
    size_t first = queue->size - queue->begin < size ? queue->size - queue->begin : size;
    memcpy(bytes, queue->ring + queue->begin, first);
    memcpy(bytes + first, queue->ring, size - first);
}

/* Takes as many whole lines as fit into LOG_LINE_MAX bytes; no single one is longer. */
static size_t ring_take(struct line_queue *queue, char *chunk) {
    size_t size = queue->used < LOG_LINE_MAX ? queue->used : LOG_LINE_MAX;
    ring_copy(queue, chunk, size);
    while (size > 0 && chunk[size - 1] != '\n') {
        size--;
    }
    queue->begin = (queue->begin + size) % queue->size;
    queue->used -= size;
    return size;
}

static size_t line_queue_room(const struct line_queue *queue, bool first) {
    size_t limit = first ? queue->size : queue->size / 4 * 3;
    return queue->used < limit ? limit - queue->used : 0;
}

/* Writes a notice of the dropped lines if there is room for it and `more` bytes after it. */
static bool put_notice(struct line_queue *queue, size_t more, bool first) {
    char line[512];
    if (queue->untold == 0 || queue->gone || !queue->notice) {
        return true;
    }
    size_t size = queue->notice(line, sizeof(line), queue->untold);
    if (line_queue_room(queue, first) < size + more) {
        return false;
    }
    ring_write(queue, line, size);
    queue->untold = 0;
    return true;
}

static void count_dropped(struct line_queue *queue, uint64_t lines) {
    queue->dropped += lines;
    queue->untold += lines;
}

/* -- the thread ------------------------------------------------------------ */

static bool line_queue_is_over(struct line_queue *queue) {
    os_mutex_lock(&queue->mutex);
    bool over = queue->stopping && os_now_ms() >= queue->end_by_ms;
    os_mutex_unlock(&queue->mutex);
    return over;
}

static uint64_t lines_in(const char *bytes, size_t size) {
    uint64_t lines = 0;
    for (size_t i = 0; i < size; i++) {
        lines += bytes[i] == '\n';
    }
    return lines;
}

/* Writes all of it. What a full disk does not take is tried again, so that no line is left half
 * written. Returns how many lines were lost. */
static uint64_t write_lines(struct line_queue *queue, const char *chunk, size_t size) {
    while (size > 0) {
        int64_t written = os_stream_write(queue->stream, chunk, size);
        if (written < 0 || (written == 0 && line_queue_is_over(queue))) {
            return lines_in(chunk, size);
        }
        if (written == 0) {
            os_sleep_ms(RETRY_MS);
        }
        chunk += written;
        size -= (size_t)written;
    }
    return 0;
}

/* Waits until there is something to write, or the end. Under the mutex; false: the end. */
static bool await_lines(struct line_queue *queue) {
    int tick_ms = -1;
    while (queue->used == 0) {
        if (queue->untold > 0 && !queue->gone && put_notice(queue, 0, true) && queue->used > 0) {
            break;
        }
        if (queue->stopping) {
            return false;
        }
        if (queue->tick && queue->tick_due) {
            queue->tick_due = false;
            os_mutex_unlock(&queue->mutex);
            tick_ms = queue->tick();
            os_mutex_lock(&queue->mutex);
        } else if (!os_condition_wait(&queue->changed, &queue->mutex, tick_ms)) {
            queue->tick_due = true;
        }
    }
    queue->tick_due |= tick_ms >= 0; /* tick_ms ends here: the tick is called again for it */
    return true;
}

static void line_queue_write_out(void *argument) {
    struct line_queue *queue = argument;
    char chunk[LOG_LINE_MAX];
    os_mutex_lock(&queue->mutex);
    atomic_store(&queue->thread_id, os_thread_id());
    while (await_lines(queue)) {
        size_t size = ring_take(queue, chunk);
        os_mutex_unlock(&queue->mutex);
        uint64_t lost = write_lines(queue, chunk, size);
        os_mutex_lock(&queue->mutex);
        atomic_fetch_sub(&queue->pending, size);
        queue->gone = lost > 0;
        count_dropped(queue, lost);
        if (queue->stopping && os_now_ms() >= queue->end_by_ms) {
            break;
        }
    }
    queue->ended = true;
    os_condition_signal_all(&queue->changed);
    os_mutex_unlock(&queue->mutex);
}

/* -- the interface --------------------------------------------------------- */

bool line_queue_start(struct line_queue *queue, size_t size, struct error *error) {
    os_mutex_init(&queue->mutex);
    os_condition_init(&queue->changed);
    queue->ring = os_pages_alloc(size);
    queue->size = size;
    queue->open = true;
    queue->tick_due = queue->tick != NULL;
    if (!queue->ring) {
        return error_set(error, "out of memory");
    }
    if (!os_thread_start_small(&queue->thread, "log", line_queue_write_out, queue, error)) {
        os_pages_free(queue->ring, queue->size);
        return false;
    }
    return true;
}

void line_queue_put(struct line_queue *queue, const char *line, size_t size, bool first) {
    os_mutex_lock(&queue->mutex);
    if (!queue->open || line_queue_room(queue, first) < size || !put_notice(queue, size, first)) {
        count_dropped(queue, lines_in(line, size));
    } else {
        ring_write(queue, line, size);
        os_condition_signal_all(&queue->changed);
    }
    os_mutex_unlock(&queue->mutex);
}

bool line_queue_resize(struct line_queue *queue, size_t size) {
    bool done = false;
    os_mutex_lock(&queue->mutex);
    size = size > queue->used ? size : queue->used;
    char *ring = size != queue->size && queue->open ? os_pages_alloc(size) : NULL;
    if (ring) {
        ring_copy(queue, ring, queue->used);
        os_pages_free(queue->ring, queue->size);
        queue->ring = ring;
        queue->begin = 0;
        queue->size = size;
    }
    done = queue->size == size;
    os_mutex_unlock(&queue->mutex);
    return done;
}

void line_queue_flush_soon(struct line_queue *queue) {
    os_mutex_lock(&queue->mutex);
    queue->tick_due = true;
    os_condition_signal_all(&queue->changed);
    os_mutex_unlock(&queue->mutex);
}

void line_queue_flush(struct line_queue *queue, unsigned timeout_ms) {
    uint64_t end_ms = os_now_ms() + timeout_ms;
    while (atomic_load(&queue->pending) > 0 && os_thread_id() != atomic_load(&queue->thread_id) &&
           os_now_ms() < end_ms) {
        os_sleep_ms(1);
    }
}

bool line_queue_stop(struct line_queue *queue, unsigned timeout_ms) {
    os_mutex_lock(&queue->mutex);
    queue->open = false;
    queue->stopping = true;
    queue->end_by_ms = os_now_ms() + timeout_ms;
    os_condition_signal_all(&queue->changed);
    while (!queue->ended && os_now_ms() < queue->end_by_ms + END_GRACE_MS) {
        os_condition_wait(&queue->changed, &queue->mutex, (int)timeout_ms + END_GRACE_MS);
    }
    bool ended = queue->ended;
    bool all = ended && queue->used == 0;
    os_mutex_unlock(&queue->mutex);
    if (!ended) {
        os_thread_abandon(&queue->thread); /* it is blocked in a write, and ends with the process */
        return false;
    }
    os_thread_join(&queue->thread);
    os_pages_free(queue->ring, queue->size);
    queue->ring = NULL;
    queue->size = 0;
    return all;
}

uint64_t line_queue_dropped(struct line_queue *queue) {
    os_mutex_lock(&queue->mutex);
    uint64_t dropped = queue->dropped;
    os_mutex_unlock(&queue->mutex);
    return dropped;
}
