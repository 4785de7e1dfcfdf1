/* line_queue.h: lines for a standard stream. A thread that puts a line never waits for the stream.
 *
 * A bounded queue in front of a thread that writes. The reader of the stream may be slow, or stop.
 * Then the queue fills, and further lines are dropped and counted. When the stream accepts data
 * again, a notice gives the number of dropped lines, at the position where they are missing. Lines
 * are written in their order, whole, and at most LOG_LINE_MAX bytes at a time, so that lines of
 * other processes on the same pipe do not fall into the middle of one.
 *
 * Owner: os/log_writer.c, statically. A thread that is blocked in a write is abandoned at the end.
 * Threads: any. */
#ifndef BERTH_HOST_OS_LINE_QUEUE_H
#define BERTH_HOST_OS_LINE_QUEUE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "os/os.h"
#include "os/os_stream.h"

struct line_queue {
    enum os_stream stream;
    /* Formats the notice of so many dropped lines; returns its length. NULL: no notice. */
    size_t (*notice)(char *line, size_t size, uint64_t dropped);
    /* Called by the thread when it is due; returns in how many milliseconds again, or -1. */
    int (*tick)(void);

    struct os_mutex mutex; /* of all that follows; never held across a write */
    struct os_condition changed;
    struct os_thread thread;
    atomic_uintptr_t thread_id;
    char *ring;
    size_t size;
    size_t begin;
    size_t used;
    uint64_t dropped; /* in total */
    uint64_t untold;  /* dropped lines that no notice has counted yet */
    bool gone;        /* the latest write found no reader */
    bool open;        /* lines are taken */
    bool tick_due;
    bool stopping;
    bool ended;
    uint64_t end_by_ms;
    atomic_size_t pending; /* bytes in the queue or being written */
};

/* The members above the mutex are set. `size`: of the queue, in bytes. */
bool line_queue_start(struct line_queue *queue, size_t size, struct error *error);

/* Puts a line, its newline included; it may be several, of LOG_LINE_MAX bytes in all. Never waits
 * for the stream. `first`: it may use the last quarter of the queue, which other lines may not. */
void line_queue_put(struct line_queue *queue, const char *line, size_t size, bool first);

/* Changes the size; what is queued always fits. False: no memory, and the size stays as it is. */
bool line_queue_resize(struct line_queue *queue, size_t size);

/* The tick is due now. */
void line_queue_flush_soon(struct line_queue *queue);

/* Waits until all is written, at most so long. It takes no lock: for a process that crashes. */
void line_queue_flush(struct line_queue *queue, unsigned timeout_ms);

/* Writes what is queued, for at most so long, and ends. Lines that come later are dropped. False:
 * there was no time for all. */
bool line_queue_stop(struct line_queue *queue, unsigned timeout_ms);

uint64_t line_queue_dropped(struct line_queue *queue);

#endif
