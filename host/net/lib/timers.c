#include "net/lib/timers.h"

#include <limits.h>
#include <stddef.h>

#include "base/assert.h"

enum { SLOT_BITS = 6 };

_Static_assert(1 << SLOT_BITS == TIMERS_SLOTS, "the slots of a level are one digit of the tick");

static unsigned timers_digit(uint64_t tick, unsigned level) {
    return (unsigned)(tick >> (level * SLOT_BITS)) & (TIMERS_SLOTS - 1);
}

static void list_init(struct timer *head) {
    head->next = head;
    head->prev = head;
}

static void list_insert(struct timer *head, struct timer *timer) {
    timer->next = head;
    timer->prev = head->prev;
    head->prev->next = timer;
    head->prev = timer;
}

static void list_remove(struct timer *timer) {
    timer->prev->next = timer->next;
    timer->next->prev = timer->prev;
    timer->next = NULL;
    timer->prev = NULL;
}

void timers_init(struct timers *timers, uint64_t now_ms) {
    timers->now = now_ms / TIMERS_TICK_MS;
    timers->count = 0;
    for (unsigned level = 0; level < TIMERS_LEVELS; level++) {
        timers->used[level] = 0;
        for (unsigned slot = 0; slot < TIMERS_SLOTS; slot++) {
            list_init(&timers->slots[level][slot]);
        }
    }
}

/* The level is that of the highest digit in which the due tick differs from the present one: the
 * timer moves down when that digit changes. */
static void timers_place(struct timers *timers, struct timer *timer) {
    uint64_t differs = timer->due ^ timers->now;
    unsigned level = 0;
    while (level + 1 < TIMERS_LEVELS && differs >> ((level + 1) * SLOT_BITS) != 0) {
        level++;
    }
    unsigned slot = timers_digit(timer->due, level);
    list_insert(&timers->slots[level][slot], timer);
    timers->used[level] |= UINT64_C(1) << slot;
}

bool timer_is_running(const struct timer *timer) {
    return timer->next != NULL;
}

void timers_stop(struct timers *timers, struct timer *timer) {
    if (timer_is_running(timer)) {
        list_remove(timer);
        timers->count--;
    }
}

void timers_start(struct timers *timers, struct timer *timer, uint64_t now_ms, uint64_t delay_ms) {
    ASSERT(timer->fire);
    timers_stop(timers, timer);
    if (delay_ms > TIMERS_DELAY_MAX_MS) {
        delay_ms = TIMERS_DELAY_MAX_MS;
    }
    /* Rounded up, so that it is never early, and at least one tick ahead of the wheel. */
    uint64_t due = (now_ms + delay_ms + TIMERS_TICK_MS - 1) / TIMERS_TICK_MS;
    timer->due = due > timers->now ? due : timers->now + 1;
    timers_place(timers, timer);
    timers->count++;
}

/* Moves the slot's timers out into `list`. */
static void take_slot(struct timers *timers, unsigned level, unsigned slot, struct timer *list) {
    struct timer *head = &timers->slots[level][slot];
    timers->used[level] &= ~(UINT64_C(1) << slot);
    list_init(list);
    if (head->next != head) {
        list->next = head->next;
        list->prev = head->prev;
        list->next->prev = list;
        list->prev->next = list;
        list_init(head);
    }
}

/* Every digit below `level` has just become 0: the timers in the level's slot move down. */
static void timers_cascade(struct timers *timers, unsigned level) {
    struct timer list;
    take_slot(timers, level, timers_digit(timers->now, level), &list);
    while (list.next != &list) {
        struct timer *timer = list.next;
        list_remove(timer);
        timers_place(timers, timer);
    }
}

static bool fire_due(struct timers *timers) {
    struct timer list;
    take_slot(timers, 0, timers_digit(timers->now, 0), &list);
    bool any = list.next != &list;
    while (list.next != &list) {
        struct timer *timer = list.next;
        list_remove(timer);
        timers->count--;
        timer->fire(timer);
    }
    return any;
}

/* Ticks until the first slot in use on the lowest level that has one. Then timers have to fire, or
 * to move down. */
static uint64_t ticks_to_next(const struct timers *timers) {
    for (unsigned level = 0; level < TIMERS_LEVELS; level++) {
        unsigned here = timers_digit(timers->now, level);
        uint64_t ahead = here == TIMERS_SLOTS - 1 ? 0 : timers->used[level] >> (here + 1);
        if (ahead != 0) {
            unsigned slot = here + 1;
            while ((ahead & 1) == 0) {
                ahead >>= 1;
                slot++;
            }
            unsigned shift = level * SLOT_BITS;
            uint64_t above = level + 1 < TIMERS_LEVELS ? timers->now >> (shift + SLOT_BITS) : 0;
            uint64_t tick = (above << (shift + SLOT_BITS)) | (uint64_t)slot << shift;
            return tick - timers->now;
        }
    }
    return UINT64_MAX;
}

bool timers_run(struct timers *timers, uint64_t now_ms) {
    uint64_t target = now_ms / TIMERS_TICK_MS;
    bool any = false;
    while (timers->now < target) {
        uint64_t step = timers->count > 0 ? ticks_to_next(timers) : UINT64_MAX;
        if (step > target - timers->now) {
            timers->now = target; /* nothing in between */
            return any;
        }
        timers->now += step;
        for (unsigned level = TIMERS_LEVELS - 1; level > 0; level--) {
            if ((timers->now & ((UINT64_C(1) << (level * SLOT_BITS)) - 1)) == 0) {
                timers_cascade(timers, level);
            }
        }
        any |= fire_due(timers);
    }
    return any;
}

int timers_next_ms(const struct timers *timers, uint64_t now_ms) {
    if (timers->count == 0) {
        return -1;
    }
    uint64_t step = ticks_to_next(timers);
    uint64_t due_ms = step == UINT64_MAX ? UINT64_MAX : (timers->now + step) * TIMERS_TICK_MS;
    if (due_ms <= now_ms) {
        return 0;
    }
    return due_ms - now_ms > INT_MAX ? INT_MAX : (int)(due_ms - now_ms);
}
