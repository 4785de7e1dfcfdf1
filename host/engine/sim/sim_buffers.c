/* sim_buffers.c: the memory that a port receives into, and the queue of waiters for memory.
 *
 * Where buffers are posted for all receives (a ring of buffers), they are taken in advance, and the
 * ring grows when it runs out.  */
#include <utlist.h>

#include "base/alloc.h"
#include "engine/sim/sim_private.h"

enum {
    RING_LEAST = 8, /* at the most: more would make creating a world slow */
    WANT_US = 5000, /* how often a port checks for memory that others gave back */
};

static void ring_fill(struct engine_port *port) {
    while (port->ring_count < port->ring_wanted &&
           port->source.take(port->source.context, &port->ring[port->ring_count])) {
        port->ring_count++;
    }
}

bool sim_take_buffer(struct engine_port *port, struct engine_buffer *buffer) {
    if (!port->ring) {
        return port->source.take(port->source.context, buffer);
    }
    if (port->ring_count == 0) {
        ring_fill(port);
        if (port->ring_count == 0) {
            return false;
        }
        port->ring_wanted =
            port->ring_wanted * 2 < port->ring_max ? port->ring_wanted * 2 : port->ring_max;
    }
    *buffer = port->ring[--port->ring_count];
    ring_fill(port);
    return true;
}

void sim_give_buffer(struct engine_port *port, struct engine_buffer *buffer) {
    if (buffer->owner) {
        port->source.give(port->source.context, buffer->owner);
        buffer->owner = NULL;
    }
}

static void want_again(struct sim_event *event) {
    struct engine_port *port = CONTAINER_OF(event, struct engine_port, want_event);
    sim_task_ready(&port->want_task, port);
}

static void run_wants(struct sim_task *task) {
    struct engine_port *port = CONTAINER_OF(task, struct engine_port, want_task);
    struct engine_buffer buffer;
    while (port->wants && sim_take_buffer(port, &buffer)) {
        struct sim_want *want = port->wants;
        DL_DELETE(port->wants, want);
        want->is_waiting = false;
        want->has_buffer = true;
        want->buffer = buffer;
        sim_task_cancel(want->task);
        want->task->run(want->task);
    }
    if (port->wants) {
        sim_event_in(&port->want_event, WANT_US);
    }
}

bool sim_want_buffer(struct engine_port *port, struct sim_want *want,
                     struct engine_buffer *buffer) {
    if (want->has_buffer) {
        want->has_buffer = false;
        *buffer = want->buffer;
        return true;
    }
    if (want->is_waiting) {
        return false;
    }
    if (!port->wants && sim_take_buffer(port, buffer)) {
        return true;
    }
    want->is_waiting = true;
    DL_APPEND(port->wants, want);
    if (port->want_event.place == 0) {
        sim_event_in(&port->want_event, WANT_US);
    }
    return false;
}

void sim_want_end(struct engine_port *port, struct sim_want *want) {
    if (want->is_waiting) {
        DL_DELETE(port->wants, want);
        want->is_waiting = false;
    }
    if (want->has_buffer) {
        want->has_buffer = false;
        sim_give_buffer(port, &want->buffer);
    }
}

void engine_port_trim(struct engine_port *port) {
    sim_enter();
    if (port->ring) {
        port->ring_wanted = port->ring_least;
        while (port->ring_count > port->ring_wanted) {
            sim_give_buffer(port, &port->ring[--port->ring_count]);
        }
    }
    sim_leave();
}

/* -- life ------------------------------------------------------------------ */

bool sim_buffers_init(struct engine_port *port, const struct engine *engine,
                      const struct engine_port_options *options) {
    uint32_t least = options->receive_buffers < RING_LEAST ? options->receive_buffers : RING_LEAST;
    least += least == 0;
    port->source = options->buffers;
    port->ring_wanted = port->ring_least = least;
    port->ring_max = options->receive_buffers_max > least ? options->receive_buffers_max : least;
    if (engine->sim->buffer_ring) {
        port->ring = alloc_array(port->ring_max, sizeof(*port->ring));
    }
    return !engine->sim->buffer_ring || port->ring;
}

void sim_buffers_begin(struct engine_port *port) {
    port->want_task.run = run_wants;
    port->want_event.fire = want_again;
    if (port->ring) {
        ring_fill(port);
    }
}

void sim_buffers_end(struct engine_port *port) {
    sim_event_cancel(&port->want_event);
    while (port->ring_count > 0) {
        sim_give_buffer(port, &port->ring[--port->ring_count]);
    }
}
