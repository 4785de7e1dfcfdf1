#include "os/os.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"
#include "os/os_crash.h"
#include "os/os_linux.h"

/* -- the process ----------------------------------------------------------- */

uint64_t os_process_id(void) {
    return (uint64_t)getpid();
}

/* If the system refuses, values that differ between processes are used instead. */
void os_random(void *bytes, size_t size) {
    if (getrandom(bytes, size, 0) != (ssize_t)size) {
        uint64_t seed[] = {os_now_us(), (uint64_t)getpid() ^ (uint64_t)(uintptr_t)bytes};
        memset(bytes, 0, size);
        memcpy(bytes, seed, size < sizeof(seed) ? size : sizeof(seed));
    }
}

bool os_random_secret(void *bytes, size_t size) {
    uint8_t *to = bytes;
    while (size > 0) {
        ssize_t got = getrandom(to, size, 0);
        if (got < 0 && errno != EINTR) {
            return false;
        }
        to += got > 0 ? got : 0;
        size -= got > 0 ? (size_t)got : 0;
    }
    return true;
}

unsigned os_cpu_count(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) != 0) { /* more than CPU_SETSIZE processors */
        long online = sysconf(_SC_NPROCESSORS_ONLN);
        return online > 0 ? (unsigned)online : 1;
    }
    int count = CPU_COUNT(&set);
    return count > 0 ? (unsigned)count : 1;
}

void os_thread_spread(unsigned index) {
    (void)index; /* the scheduler uses all processors */
}

const char *os_name(void) {
    return "linux";
}

bool os_executable_folder(char *path, size_t size, struct error *error) {
    char file[OS_PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", file, sizeof(file) - 1);
    if (length < 0) {
        return error_set(error, "/proc/self/exe: %s", strerror(errno));
    }
    file[length] = '\0';
    if (!os_path_folder(path, size, file)) {
        return error_set(error, "the path is too long: %s", file);
    }
    return true;
}

/* -- clock and memory ------------------------------------------------------ */

static uint64_t linux_now(uint64_t units_a_second) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * units_a_second +
           (uint64_t)time.tv_nsec / (UINT64_C(1000000000) / units_a_second);
}

uint64_t os_now_ms(void) {
    return linux_now(1000);
}

uint64_t os_now_us(void) {
    return linux_now(1000000);
}

int64_t os_unix_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

size_t os_page_bytes(void) {
    static size_t bytes; /* every thread would store the same value */
    size_t known = __atomic_load_n(&bytes, __ATOMIC_RELAXED);
    if (known == 0) {
        known = (size_t)sysconf(_SC_PAGESIZE);
        __atomic_store_n(&bytes, known, __ATOMIC_RELAXED);
    }
    return known;
}

static size_t whole_pages(size_t size) {
    size_t page = os_page_bytes();
    return (size + page - 1) / page * page;
}

static void *pages_map(size_t size) {
    void *pages =
        mmap(NULL, whole_pages(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return pages == MAP_FAILED ? NULL : pages;
}

void *os_pages_alloc(size_t size) {
    if (alloc_fails_now()) {
        return NULL;
    }
    void *pages = pages_map(size);
    if (!pages && alloc_failed()) {
        pages = pages_map(size);
    }
    return pages;
}

void os_pages_free(void *pages, size_t size) {
    if (pages) {
        munmap(pages, whole_pages(size));
    }
}

void os_heap_trim(void) {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

/* -- threads --------------------------------------------------------------- */

_Static_assert(sizeof(pthread_t) <= sizeof(uintptr_t), "struct os_thread holds a pthread_t");
_Static_assert(sizeof(pthread_mutex_t) <= sizeof(struct os_mutex), "the room fits");
_Static_assert(sizeof(pthread_cond_t) <= sizeof(struct os_condition), "the room fits");

struct thread_start {
    void (*function)(void *argument);
    void *argument;
    char name[16];
};

/* A sanitizer's functions take more stack than ours. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SMALL_STACK_BYTES = 0 };
#else
enum { SMALL_STACK_BYTES = 256 * 1024 };
#endif

static void *linux_thread_main(void *pointer) {
    struct thread_start start = *(struct thread_start *)pointer;
    alloc_free(pointer);
    pthread_setname_np(pthread_self(), start.name);
    void *prepared = os_crash_thread_begin();
    start.function(start.argument);
    os_crash_thread_end(prepared);
    return NULL;
}

/* 0 bytes of stack: as many as the system gives by default. */
static bool thread_start(struct os_thread *thread, const char *name, size_t stack_bytes,
                         void (*function)(void *argument), void *argument, struct error *error) {
    struct thread_start *start = alloc_zeroed(sizeof(*start));
    if (!start) {
        return error_set(error, "out of memory");
    }
    start->function = function;
    start->argument = argument;
    snprintf(start->name, sizeof(start->name), "%s", name);
    pthread_t handle;
    pthread_attr_t attributes;
    int code = pthread_attr_init(&attributes);
    if (code == 0) {
        if (stack_bytes > 0) {
            pthread_attr_setstacksize(&attributes, stack_bytes);
        }
        code = pthread_create(&handle, &attributes, linux_thread_main, start);
        pthread_attr_destroy(&attributes);
    }
    if (code != 0) {
        alloc_free(start);
        return error_set(error, "starting a thread: %s", strerror(code));
    }
    thread->handle = (uintptr_t)handle;
    return true;
}

bool os_thread_start(struct os_thread *thread, const char *name, void (*function)(void *argument),
                     void *argument, struct error *error) {
    return thread_start(thread, name, 0, function, argument, error);
}

bool os_thread_start_small(struct os_thread *thread, const char *name,
                           void (*function)(void *argument), void *argument, struct error *error) {
    return thread_start(thread, name, SMALL_STACK_BYTES, function, argument, error);
}

void os_thread_join(struct os_thread *thread) {
    pthread_join((pthread_t)thread->handle, NULL);
}

void os_thread_abandon(struct os_thread *thread) {
    pthread_detach((pthread_t)thread->handle);
}

static uint64_t linux_microseconds(struct timeval time) {
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_usec;
}

void os_thread_usage(struct os_thread_usage *usage) {
    struct rusage used = {0};
    getrusage(RUSAGE_THREAD, &used);
    usage->cpu_us = linux_microseconds(used.ru_utime) + linux_microseconds(used.ru_stime);
    usage->waits = (uint64_t)used.ru_nvcsw;
    usage->faults = (uint64_t)used.ru_majflt;
}

void os_sleep_ms(unsigned ms) {
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&time, NULL);
}

uintptr_t os_thread_id(void) {
    return (uintptr_t)pthread_self();
}

uint64_t os_thread_processor_us(uintptr_t id) {
    clockid_t clock;
    struct timespec used;
    if (pthread_getcpuclockid((pthread_t)id, &clock) != 0 || clock_gettime(clock, &used) != 0) {
        return 0;
    }
    return (uint64_t)used.tv_sec * 1000000 + (uint64_t)used.tv_nsec / 1000;
}

static pthread_mutex_t *mutex_of(struct os_mutex *mutex) {
    return (pthread_mutex_t *)(void *)mutex->room;
}

static pthread_cond_t *condition_of(struct os_condition *condition) {
    return (pthread_cond_t *)(void *)condition->room;
}

void os_mutex_init(struct os_mutex *mutex) {
    int code = pthread_mutex_init(mutex_of(mutex), NULL);
    ASSERT(code == 0);
}

void os_mutex_fini(struct os_mutex *mutex) {
    pthread_mutex_destroy(mutex_of(mutex));
}

void os_mutex_lock(struct os_mutex *mutex) {
    int code = pthread_mutex_lock(mutex_of(mutex));
    ASSERT(code == 0);
}

void os_mutex_unlock(struct os_mutex *mutex) {
    int code = pthread_mutex_unlock(mutex_of(mutex));
    ASSERT(code == 0);
}

void os_condition_init(struct os_condition *condition) {
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    int code = pthread_cond_init(condition_of(condition), &attributes);
    ASSERT(code == 0);
    pthread_condattr_destroy(&attributes);
}

void os_condition_fini(struct os_condition *condition) {
    pthread_cond_destroy(condition_of(condition));
}

void os_condition_signal(struct os_condition *condition) {
    pthread_cond_signal(condition_of(condition));
}

void os_condition_signal_all(struct os_condition *condition) {
    pthread_cond_broadcast(condition_of(condition));
}

bool os_condition_wait(struct os_condition *condition, struct os_mutex *mutex, int timeout_ms) {
    if (timeout_ms < 0) {
        pthread_cond_wait(condition_of(condition), mutex_of(mutex));
        return true;
    }
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    return pthread_cond_timedwait(condition_of(condition), mutex_of(mutex), &until) != ETIMEDOUT;
}

/* -- requests to stop ------------------------------------------------------ */

static int signal_fd = -1;
static int wake_fd = -1;

bool os_signals_start(struct error *error) {
    sigset_t set;
    linux_stop_signals(&set);
    signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signal_fd < 0) {
        return error_set(error, "signalfd: %s", strerror(errno));
    }
    wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake_fd < 0) {
        error_set(error, "eventfd: %s", strerror(errno));
        close(signal_fd);
        signal_fd = -1;
        return false;
    }
    return true;
}

static pid_t watched_parent; /* 0: none */
static atomic_bool left_alone;

void linux_signals_watch_parent(pid_t parent) {
    watched_parent = parent;
}

/* Reported once. */
static bool is_left_alone(void) {
    return watched_parent != 0 && getppid() != watched_parent &&
           !atomic_exchange(&left_alone, true);
}

enum os_signal os_signals_look(void) {
    struct signalfd_siginfo info;
    if (is_left_alone()) {
        return OS_SIGNAL_STOP;
    }
    while (read(signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo != SIGCONT) {
            return info.ssi_signo == SIGHUP ? OS_SIGNAL_RELOAD : OS_SIGNAL_STOP;
        }
    }
    return OS_SIGNAL_NONE;
}

enum os_signal os_signals_wait(int timeout_ms) {
    struct pollfd waits[] = {{.fd = signal_fd, .events = POLLIN},
                             {.fd = wake_fd, .events = POLLIN}};
    if (poll(waits, 2, timeout_ms) <= 0) {
        return OS_SIGNAL_NONE; /* EINTR too: the caller checks its conditions and waits again */
    }
    enum os_signal signal = os_signals_look();
    if (signal != OS_SIGNAL_NONE) {
        return signal;
    }
    uint64_t count;
    ssize_t ignored = read(wake_fd, &count, sizeof(count));
    (void)ignored; /* it only empties the counter */
    return OS_SIGNAL_NONE;
}

void os_signals_wake(void) {
    uint64_t one = 1;
    ssize_t ignored = write(wake_fd, &one, sizeof(one));
    (void)ignored; /* a full counter wakes the waiter, too */
}

/* The system waits for the process's end itself. */
void os_signals_finished(void) {}
