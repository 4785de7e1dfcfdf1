#include "common/lock.h"

#include <windows.h>

_Static_assert(sizeof(SRWLOCK) <= sizeof(struct lock), "a lock has room for a slim lock");

static SRWLOCK *lock_slim(struct lock *lock) {
    return (SRWLOCK *)lock->room;
}

bool lock_init(struct lock *lock) {
    InitializeSRWLock(lock_slim(lock));
    return true;
}

void lock_fini(struct lock *lock) {
    (void)lock; /* an SRWLOCK needs no cleanup */
}

void lock_acquire(struct lock *lock) {
    AcquireSRWLockExclusive(lock_slim(lock));
}

void lock_release(struct lock *lock) {
    ReleaseSRWLockExclusive(lock_slim(lock));
}
