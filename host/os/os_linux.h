/* os_linux.h: what the files of this system share. Threads: [control]. */
#ifndef BERTH_HOST_OS_OS_LINUX_H
#define BERTH_HOST_OS_OS_LINUX_H

#include <signal.h>

/* The signals that os_signals_wait() takes, and that are blocked in all threads. */
void linux_stop_signals(sigset_t *set);

/* The process whose end asks this one to stop. */
void linux_signals_watch_parent(pid_t parent);

#endif
