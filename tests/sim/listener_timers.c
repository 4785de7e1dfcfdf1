/* Timers of listeners: created while one opens, started and stopped by whoever is called. */
#include "berth/timer.h"
#include "host_in_world.h"
#include "net/listen/listener.h"
#include "rule.h"
#include "world.h"

enum { DELAY_MS = 2000, LATE_MS = 5000 };

static const struct berth_timer_host *service(const struct berth_listener *listener) {
    return listener->host->query(listener->host, BERTH_TIMER_ID);
}

static uint64_t now_ms(const struct berth_listener *listener) {
    return listener->host->now_ms(listener->host);
}

static void start(struct listener_timer *timer, uint64_t delay_ms) {
    const struct berth_listener *listener = timer->owner->public;
    timer->is_running = true;
    timer->due_ms = now_ms(listener) + delay_ms;
    service(listener)->start(timer->timer, delay_ms);
}

static void BERTH_CALL on_timer(struct berth_timer *fired, const struct berth_listener *of,
                                uint32_t worker, void *argument) {
    (void)of;
    (void)worker;
    struct listener_timer *timer = argument;
    callback_begin("timer");
    RULE(timer->owner->public, "no timer of a listener fires after listener_close");
    RULE(timer->timer == fired && timer->is_running,
         "a timer of a listener fires once, and if it runs");
    uint64_t at_ms = now_ms(timer->owner->public);
    RULE(at_ms >= timer->due_ms, "timers of a listener are not early: by %llu ms",
         (unsigned long long)(timer->due_ms - at_ms));
    RULE(world.is_faulty || at_ms < timer->due_ms + LATE_MS,
         "timers of a listener are not late: by %llu ms",
         (unsigned long long)(at_ms - timer->due_ms));
    timer->is_running = false;
    datagrams_answer_late(timer->owner->public);
    callback_end();
}

void listener_timers_create(const struct berth_listener *listener, struct open_listener *open) {
    uint32_t most = ((const struct listener *)listener)->options.timers_max;
    unsigned count = 0;
    for (unsigned i = 0; i < LISTENER_TIMERS; i++) {
        struct listener_timer *timer = &open->timers[i];
        timer->owner = open;
        timer->timer = service(listener)->create_for_listener(listener, on_timer, timer);
        RULE(timer->timer ? count < most : count >= most || memory_may_fail(),
             "limits.timers is exact: %u of %u of a listener", count, most);
        count += timer->timer != NULL;
    }
}

void listener_timer_by_chance(const struct berth_listener *listener) {
    struct open_listener *open = listener->state;
    struct listener_timer *timer = &open->timers[sim_random(LISTENER_TIMERS)];
    if (!timer->timer) {
        return;
    }
    if (sim_random(3) > 0) {
        start(timer, sim_random(DELAY_MS));
    } else {
        service(listener)->stop(timer->timer);
        timer->is_running = false;
    }
}
