/* lock.h: a mutex for state that workers share in a plugin: SRWLOCK on Windows, pthread_mutex_t
 * elsewhere.
 *
 * Not recursive; held only briefly, because a waiting worker serves no connection.
 *
 * Threads: init and fini one, the others any. */
#ifndef BERTH_PLUGINS_COMMON_LOCK_H
#define BERTH_PLUGINS_COMMON_LOCK_H

#include <stdbool.h>

struct lock {
    void *room[8]; /* the system's own object: each system's file asserts that it fits */
};

bool lock_init(struct lock *lock); /* false: the system has no memory or no more locks */
void lock_fini(struct lock *lock);
void lock_acquire(struct lock *lock);
void lock_release(struct lock *lock);

#endif
