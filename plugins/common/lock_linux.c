#include "common/lock.h"

#include <pthread.h>

_Static_assert(sizeof(pthread_mutex_t) <= sizeof(struct lock), "a lock has room for a mutex");
_Static_assert(_Alignof(pthread_mutex_t) <= _Alignof(struct lock), "and is aligned for it");

static pthread_mutex_t *lock_mutex(struct lock *lock) {
    return (pthread_mutex_t *)lock->room;
}

bool lock_init(struct lock *lock) {
    return pthread_mutex_init(lock_mutex(lock), NULL) == 0;
}

void lock_fini(struct lock *lock) {
    pthread_mutex_destroy(lock_mutex(lock));
}

void lock_acquire(struct lock *lock) {
    pthread_mutex_lock(lock_mutex(lock));
}

void lock_release(struct lock *lock) {
    pthread_mutex_unlock(lock_mutex(lock));
}
