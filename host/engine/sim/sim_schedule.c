/* sim_schedule.c: what happens next.
 *
 * The heap has future events; ports have the tasks that can run now. sim_step() chooses between the
 * two, and among ports, by the seed. Events of one time fire in a random order, which is chosen
 * when they are scheduled. */
#include "base/assert.h"
#include "engine/sim/sim_private.h"

/* -- the heap -------------------------------------------------------------- */

static bool comes_before(const struct sim_due *one, const struct sim_due *other) {
    return one->at_us != other->at_us ? one->at_us < other->at_us : one->order < other->order;
}

static void sim_schedule_put(uint32_t place, struct sim_due due) {
    sim->heap[place - 1] = due;
    due.event->place = place;
}

static void sift_up(uint32_t place, struct sim_due due) {
    while (place > 1 && comes_before(&due, &sim->heap[place / 2 - 1])) {
        sim_schedule_put(place, sim->heap[place / 2 - 1]);
        place /= 2;
    }
    sim_schedule_put(place, due);
}

static void sift_down(uint32_t place, struct sim_due due) {
    for (;;) {
        uint32_t child = place * 2;
        if (child > sim->heap_count) {
            break;
        }
        if (child < sim->heap_count && comes_before(&sim->heap[child], &sim->heap[child - 1])) {
            child++;
        }
        if (!comes_before(&sim->heap[child - 1], &due)) {
            break;
        }
        sim_schedule_put(place, sim->heap[child - 1]);
        place = child;
    }
    sim_schedule_put(place, due);
}

void sim_event_cancel(struct sim_event *event) {
    uint32_t place = event->place;
    if (place == 0) {
        return;
    }
    event->place = 0;
    struct sim_due last = sim->heap[--sim->heap_count];
    if (last.event == event) {
        return;
    }
    if (place > 1 && comes_before(&last, &sim->heap[place / 2 - 1])) {
        sift_up(place, last);
    } else {
        sift_down(place, last);
    }
}

void sim_event_at(struct sim_event *event, uint64_t at_us) {
    sim_event_cancel(event);
    if (sim->heap_count == sim->heap_room) {
        sim->heap_room = sim->heap_room == 0 ? 64 : sim->heap_room * 2;
        sim->heap = sim_memory_resize(sim->heap, sim->heap_room * sizeof(*sim->heap));
    }
    uint64_t now = sim_now_us();
    sift_up(++sim->heap_count,
            (struct sim_due){at_us > now ? at_us : now, sim_random(UINT64_MAX), event});
}

void sim_event_in(struct sim_event *event, uint64_t us) {
    sim_event_at(event, sim_now_us() + us);
}

static uint64_t next_us(void) {
    return sim->heap_count > 0 ? sim->heap[0].at_us : UINT64_MAX;
}

uint64_t sim_next_event_us(void) {
    sim_enter();
    uint64_t us = next_us();
    sim_leave();
    return us;
}

static void pass_to(uint64_t us) {
    if (us > sim_now_us()) {
        atomic_store_explicit(&sim->now_us, us, memory_order_relaxed);
    }
}

bool sim_fire_next(uint64_t until_us) {
    if (sim->heap_count == 0 || sim->heap[0].at_us > until_us) {
        return false;
    }
    struct sim_event *event = sim->heap[0].event;
    pass_to(sim->heap[0].at_us);
    sim_event_cancel(event);
    event->fire(event);
    return true;
}

/* -- tasks --------------------------------------------------------------------
 *
 * The array of a port begins with those that may still run in the present turn. */

static void sim_schedule_set(struct engine_port *port, uint32_t index, struct sim_task *task) {
    port->ready[index] = task;
    task->place = index + 1;
}

void sim_task_ready(struct sim_task *task, struct engine_port *port) {
    if (task->place > 0) {
        ASSERT(task->port == port);
        return;
    }
    if (port->ready_count == port->ready_room) {
        port->ready_room = port->ready_room == 0 ? 16 : port->ready_room * 2;
        port->ready = sim_memory_resize(port->ready, port->ready_room * sizeof(struct sim_task *));
    }
    task->port = port;
    sim_schedule_set(port, port->ready_count++, task);
}

void sim_task_cancel(struct sim_task *task) {
    if (task->place == 0) {
        return;
    }
    struct engine_port *port = task->port;
    uint32_t hole = task->place - 1;
    task->place = 0;
    if (hole < port->turn_left) {
        port->turn_left--;
        if (hole != port->turn_left) {
            sim_schedule_set(port, hole, port->ready[port->turn_left]);
            hole = port->turn_left;
        }
    }
    port->ready_count--;
    if (hole != port->ready_count) {
        sim_schedule_set(port, hole, port->ready[port->ready_count]);
    }
}

/* -- steps ----------------------------------------------------------------- */

static struct engine_port *choose_port(void) {
    struct engine_port *chosen = NULL;
    unsigned count = 0;
    for (struct engine_port *port = sim->ports; port; port = port->next) {
        if (sim_port_is_ready(port) && (++count == 1 || sim_random(count) == 0)) {
            chosen = port;
        }
    }
    return chosen;
}

static uint64_t to_us(uint64_t ms) {
    return ms > UINT64_MAX / 1000 ? UINT64_MAX : ms * 1000;
}

static enum sim_next sim_schedule_step(uint64_t until_ms, struct engine_port **port) {
    uint64_t until_us = to_us(until_ms);
    struct engine_port *ready = choose_port();
    *port = NULL;
    if (ready && !(next_us() <= until_us && sim_chance(sim->options.event_first))) {
        *port = ready;
        sim_note(SIM_NOTE_RUN, ready->number, ready->ready_count);
        return SIM_RUN_PORT;
    }
    if (sim_fire_next(until_us)) {
        return SIM_EVENT;
    }
    if (until_us < UINT64_MAX) {
        pass_to(until_us);
    }
    return SIM_IDLE;
}

enum sim_next sim_step(uint64_t until_ms, struct engine_port **port) {
    sim_enter();
    enum sim_next next = sim_schedule_step(until_ms, port);
    sim_leave();
    return next;
}

bool sim_advance(uint64_t until_ms, bool (*done)(void *context), void *context) {
    uint64_t until_us = to_us(until_ms);
    bool is_done = false;
    sim_enter();
    while (!is_done && sim_fire_next(until_us)) {
        is_done = done && done(context);
    }
    if (!is_done && until_us < UINT64_MAX) {
        pass_to(until_us);
    }
    sim_leave();
    return is_done;
}

/* -- timers of a test ------------------------------------------------------ */

struct test_timer {
    void (*fire)(struct sim_timer *timer);
    struct sim_event event;
};
_Static_assert(sizeof(struct test_timer) <= sizeof(struct sim_timer), "sim_timer is too small");

static void fire_timer(struct sim_event *event) {
    struct test_timer *timer = CONTAINER_OF(event, struct test_timer, event);
    sim_note(SIM_NOTE_TIMER, 0, 0);
    timer->fire((struct sim_timer *)timer);
}

void sim_timer_set(struct sim_timer *timer, uint64_t at_us) {
    struct test_timer *inner = (struct test_timer *)timer;
    sim_enter();
    inner->event.fire = fire_timer;
    sim_event_at(&inner->event, at_us);
    sim_leave();
}

void sim_timer_cancel(struct sim_timer *timer) {
    sim_enter();
    sim_event_cancel(&((struct test_timer *)timer)->event);
    sim_leave();
}
