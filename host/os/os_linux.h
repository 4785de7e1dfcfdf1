/* os_linux.h: what the files of this system share. Threads: [control]. */
#ifndef BERTH_HOST_OS_OS_LINUX_H
#define BERTH_HOST_OS_OS_LINUX_H

#include <signal.h>
#include <stdint.h>

/* The signals that os_signals_wait() takes, and that are blocked in all threads. */
void linux_stop_signals(sigset_t *set);

/* The instruction that a thread was at, by the third argument of a signal's handler. */
uintptr_t linux_crash_place(void *context);

/* The process whose end asks this one to stop. */
void linux_signals_watch_parent(pid_t parent);

#endif
