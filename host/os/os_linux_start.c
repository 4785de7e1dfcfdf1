/* os_linux_start.c: sets what a process inherits, and assumes nothing about it.
 *
 * The process that starts it may have closed descriptors, ignored or blocked signals, left a
 * running timer, a umask, or open files that child processes must not have; and it may be process
 * 1, which gets all orphans of its namespace. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/macros.h"
#include "os/os.h"
#include "os/os_linux.h"

enum { HEAP_BYTES = 64 << 20, HEAP_SHARE = 4, HEAPS_MAX = 1024 };

/* -- descriptors ----------------------------------------------------------- */

/* A descriptor of the host must never have the number of standard input, output or error. */
static bool open_standard_descriptors(struct error *error) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", O_RDWR) < 0) {
            return error_set(error, "opening /dev/null: %s", strerror(errno));
        }
    }
    return true;
}

/* Other inherited descriptors must not reach the processes that this one starts. They stay open
 * here: a manifest may be named as /dev/fd/63. */
static void keep_descriptors_from_children(void) {
    if (syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC) == 0) {
        return;
    }
    DIR *folder = opendir("/proc/self/fd"); /* before Linux 5.11 */
    const struct dirent *entry;
    while (folder && (entry = readdir(folder)) != NULL) {
        int fd = (int)strtol(entry->d_name, NULL, 10);
        if (fd > STDERR_FILENO) {
            fcntl(fd, F_SETFD, FD_CLOEXEC);
        }
    }
    if (folder) {
        closedir(folder);
    }
}

/* As far as the system allows: a shell's usual 1024 are few for a server. The manifest's limits
 * keep the host below it; a failure only means that it serves fewer. */
static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* -- signals --------------------------------------------------------------- */

void linux_stop_signals(sigset_t *set) {
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
    sigaddset(set, SIGCONT); /* sent when the parent has ended: see os_linux_child.c */
}

/* A handler that was set before main(), as profilers do, stays. */
static void set_unless_handled(int number, void (*to)(int)) {
    struct sigaction is;
    if (sigaction(number, NULL, &is) == 0 && (is.sa_flags & SA_SIGINFO) == 0 &&
        (is.sa_handler == SIG_DFL || is.sa_handler == SIG_IGN)) {
        signal(number, to);
    }
}

/* Ignored are signals whose default would end or stop a server without need: a stray one, a limit
 * of a file size or of processor time, or terminal output from the background. Those that must
 * arrive get the default. */
static void set_dispositions(void) {
    static const int ignored[] = {SIGPIPE,   SIGXFSZ, SIGXCPU, SIGUSR1, SIGUSR2, SIGALRM,  SIGIO,
                                  SIGVTALRM, SIGPROF, SIGTTIN, SIGTTOU, SIGPWR,  SIGSTKFLT};
    static const int needed[] = {SIGCHLD, SIGINT, SIGTERM, SIGHUP,  SIGCONT, SIGSEGV, SIGBUS,
                                 SIGFPE,  SIGILL, SIGABRT, SIGQUIT, SIGTRAP, SIGSYS};
    for (size_t i = 0; i < ARRAY_COUNT(ignored); i++) {
        set_unless_handled(ignored[i], SIG_IGN);
    }
    for (int number = SIGRTMIN; number <= SIGRTMAX; number++) {
        set_unless_handled(number, SIG_IGN);
    }
    for (size_t i = 0; i < ARRAY_COUNT(needed); i++) {
        set_unless_handled(needed[i], SIG_DFL);
    }
}

static void stop_timers(void) {
    static const int timers[] = {ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF};
    const struct itimerval none = {0};
    for (size_t i = 0; i < ARRAY_COUNT(timers); i++) {
        setitimer(timers[i], &none, NULL);
    }
}

/* Each thread's heap reserves 64 MiB of the address space. Where that is limited and a thread
 * cannot have one, glibc does not give it the first thread's either: each of its allocations,
 * however small, is a mapping of its own, and there is soon no room for any, though the first heap
 * is empty. So the number of heaps is limited to those that fit into a quarter of it, and threads
 * share them. */
static void share_heaps(void) {
    struct rlimit space;
    if (getrlimit(RLIMIT_AS, &space) != 0 || space.rlim_cur == RLIM_INFINITY) {
        return;
    }
    rlim_t heaps = space.rlim_cur / HEAP_SHARE / HEAP_BYTES;
    if (heaps < HEAPS_MAX) {
        mallopt(M_ARENA_MAX, heaps > 1 ? (int)heaps : 1);
    }
}

bool os_start(int *argc, char ***argv, struct error *error) {
    sigset_t set;
    (void)argc;
    (void)argv; /* they are UTF-8, or the bytes of the user's file names */
    if (!open_standard_descriptors(error)) {
        return false;
    }
    keep_descriptors_from_children();
    stop_timers();
    set_dispositions();
    linux_stop_signals(&set);
    int code = pthread_sigmask(SIG_SETMASK, &set, NULL);
    if (code != 0) {
        return error_set(error, "blocking signals: %s", strerror(code));
    }
    /* No other user may write what it makes, and it can always read that itself. */
    mode_t mask = umask(S_IWGRP | S_IWOTH);
    umask((mask | S_IWGRP | S_IWOTH) & ~(mode_t)S_IRWXU);
    raise_descriptor_limit();
    share_heaps();
    return true;
}

void os_signals_leave(void) {
    sigset_t set;
    linux_stop_signals(&set);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* -- process 1 ------------------------------------------------------------- */

/* Reaps all processes that have ended; true when the child is one of them. */
static bool linux_start_reap(pid_t child, int *code) {
    bool ended = false;
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == child) {
            enum { CODE_OF_SIGNAL = 128 };
            *code = WIFEXITED(status) ? WEXITSTATUS(status) : CODE_OF_SIGNAL + WTERMSIG(status);
            ended = true;
        }
    }
    return ended;
}

static bool is_passed_on(int number) {
    return number != SIGCHLD && number != SIGCONT && number != SIGTTIN && number != SIGTTOU &&
           number != SIGTSTP && number != SIGPIPE;
}

bool os_init_process(int *code) {
    sigset_t all;
    sigset_t before;
    if (getpid() != 1) {
        return false;
    }
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t child = fork();
    if (child <= 0) { /* without a child this process serves itself, and reaps no orphans */
        if (child == 0) {
            setpgid(0, 0); /* Ctrl-C reaches process 1 alone, which passes it on */
        }
        sigprocmask(SIG_SETMASK, &before, NULL);
        return false;
    }
    while (true) {
        int number = sigwaitinfo(&all, NULL);
        if (number == SIGCHLD && linux_start_reap(child, code)) {
            return true; /* when process 1 ends, the system ends all others */
        }
        if (number > 0 && is_passed_on(number)) {
            kill(child, number);
        }
    }
}
