/* timers.h: a hierarchical timing wheel: deadlines in any number, O(1) to set and to stop.
 *
 * Six levels of 64 slots over a tick of 4 ms reach from one tick to more than eight years; a timer
 * moves down a level when its slot comes round (Varghese and Lauck, "Hashed and hierarchical timing
 * wheels", 1987). Timers never fire early, and late by one tick at most, plus the time that the
 * worker was busy.
 *
 * Owner: the worker that embeds the wheel; timers are embedded in the objects they time. Threads:
 * the owner's only. */
#ifndef BERTH_HOST_NET_LIB_TIMERS_H
#define BERTH_HOST_NET_LIB_TIMERS_H

#include <stdbool.h>
#include <stdint.h>

#define TIMERS_LEVELS 6
#define TIMERS_SLOTS 64
#define TIMERS_TICK_MS 4
#define TIMERS_DELAY_MAX_MS (UINT64_C(365) * 24 * 3600 * 1000) /* longer delays are cut to it */

struct timer {
    struct timer *next; /* NULL: not running */
    struct timer *prev;
    uint64_t due; /* in ticks */
    void (*fire)(struct timer *timer);
};

struct timers {
    uint64_t now; /* the last tick that has been run */
    uint32_t count;
    uint64_t used[TIMERS_LEVELS]; /* a bit a slot */
    struct timer slots[TIMERS_LEVELS][TIMERS_SLOTS];
};

void timers_init(struct timers *timers, uint64_t now_ms);

/* Starts the timer, or moves it. `fire` is set by the owner. */
void timers_start(struct timers *timers, struct timer *timer, uint64_t now_ms, uint64_t delay_ms);
void timers_stop(struct timers *timers, struct timer *timer); /* a stopped timer is legal */
bool timer_is_running(const struct timer *timer);

/* Fires all that are due. They may start and stop timers, including themselves. Returns whether
 * there were any. */
bool timers_run(struct timers *timers, uint64_t now_ms);

/* Milliseconds until something may be due; negative when no timer runs. May be too early (a timer
 * has to move down a level then), never too late. */
int timers_next_ms(const struct timers *timers, uint64_t now_ms);

#endif
