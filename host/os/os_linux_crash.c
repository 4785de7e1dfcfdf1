/* os_linux_crash.c: signals that mean a crash.
 *
 * The handlers may have interrupted any code, malloc and the loader too. So they call nothing that
 * allocates, and an alarm ends the process if something blocks nevertheless. The stack may have
 * been overwritten, or the thread may have called an address that is not code: the first part of
 * the report is written before the stack is walked, and a second crash during the walk ends only
 * the walk. */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/macros.h"
#include "os/os.h"
#include "os/os_crash.h"

#if defined(__has_feature)
#define HAS_FEATURE(feature) __has_feature(feature)
#else
#define HAS_FEATURE(feature) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) ||                               \
    HAS_FEATURE(address_sanitizer) || HAS_FEATURE(thread_sanitizer)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

enum {
    STACK_BYTES = 128 * 1024, /* of a thread, for its crash report; untouched it costs no memory */
    CRASH_REPORT_S = 5,
    FRAMES_OF_HANDLER = 8, /* room for the handler's own frames, which are innermost */
    PAGE_BYTES = 4096,
    CODE_AT_WORST = 134,
    HUNG_LOOKS = 600, /* how often it is checked whether a hung thread has written its report */
    HUNG_LOOK_US = 10000,
};

static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
static struct os_crash_words words;
static atomic_flag crashing = ATOMIC_FLAG_INIT;
static _Atomic(const char *) hung; /* why a thread that has not crashed is made to report */

static const char *linux_crash_text_of(int number, int code) {
    switch (number) {
    case SIGSEGV:
        return code == SEGV_ACCERR ? "SIGSEGV: an access that the memory does not allow"
                                   : "SIGSEGV: an access to memory that is not there";
    case SIGBUS:
        return "SIGBUS: an access that the memory cannot serve";
    case SIGFPE:
        return "SIGFPE: an impossible calculation";
    case SIGILL:
        return "SIGILL: an illegal instruction";
    default:
        return "SIGABRT: abort (an exception of C++ may have left the plugin)";
    }
}

#if defined(__x86_64__)
enum { HAS_RETURN_ON_STACK = 1 };

static greg_t *instruction_of(ucontext_t *context) {
    return &context->uc_mcontext.gregs[REG_RIP];
}

static greg_t *stack_of(ucontext_t *context) {
    return &context->uc_mcontext.gregs[REG_RSP];
}
#elif defined(__aarch64__)
enum { HAS_RETURN_ON_STACK = 0 };

static __u64 *instruction_of(ucontext_t *context) {
    return &context->uc_mcontext.pc;
}

static __u64 *stack_of(ucontext_t *context) {
    return &context->uc_mcontext.sp;
}
#endif

uintptr_t linux_crash_place(void *context) {
    return (uintptr_t)*instruction_of(context);
}

/* By a system call, which fails for an unmapped address instead of crashing. */
static bool is_mapped(uintptr_t address) {
    uintptr_t page = address & ~(uintptr_t)(PAGE_BYTES - 1);
    return msync((void *)page, PAGE_BYTES, MS_ASYNC) == 0;
}

static void add_frame(struct os_crash *crash, void *frame) {
    if (crash->frame_count < OS_CRASH_FRAMES_MAX) {
        crash->frames[crash->frame_count++] = frame;
    }
}

/* The stack from the instruction that crashed outwards, without the handler's own frames. */
static void linux_crash_walk(struct os_crash *crash, const void *instruction) {
    void *frames[OS_CRASH_FRAMES_MAX + FRAMES_OF_HANDLER];
    int count = backtrace(frames, (int)ARRAY_COUNT(frames));
    int first = count; /* the frames before it are the handler's and are left out */
    for (int i = 0; i < count && first == count; i++) {
        if (frames[i] == instruction) {
            first = i + 1;
        }
    }
    for (int i = first; i < count; i++) {
        add_frame(crash, frames[i]);
    }
}

/* A call of an address that is not a function has left its return address on the stack: the walk
 * begins there, as if the call had returned. */
static void linux_crash_trace(struct os_crash *crash, ucontext_t *context) {
    uintptr_t code = (uintptr_t)*instruction_of(context);
    uintptr_t stack = (uintptr_t)*stack_of(context);
    add_frame(crash, (void *)code);
    if (is_mapped(code)) {
        linux_crash_walk(crash, (void *)code);
        return;
    }
    if (!HAS_RETURN_ON_STACK || stack % sizeof(uintptr_t) != 0 || !is_mapped(stack)) {
        return;
    }
    uintptr_t back = *(const uintptr_t *)stack;
    if (!is_mapped(back)) {
        return;
    }
    add_frame(crash, (void *)back);
    *instruction_of(context) = (long long)back;
    *stack_of(context) += (long long)sizeof(uintptr_t);
    linux_crash_walk(crash, (void *)back);
    *instruction_of(context) = (long long)code;
    *stack_of(context) = (long long)stack;
}

/* The signal is blocked until this handler returns. Then it is delivered to the process in the
 * state in which it crashed. */
static void linux_crash_end(int number) {
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, number);
    pthread_sigmask(SIG_BLOCK, &one, NULL);
    signal(number, SIG_DFL);
    raise(number);
}

/* The crash that is reported: that of the first thread that crashed. */
static struct {
    struct os_crash crash;
    pthread_t thread;
    int number;
    bool told; /* the frames are reported: nothing more is to be written */
} told;

/* Walking the stack or writing the report has crashed: only what is known by now is reported. */
static _Noreturn void on_second_crash(void) {
    if (!told.told) {
        told.told = true;
        words.frames(&told.crash);
    }
    signal(told.number, SIG_DFL);
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, told.number);
    pthread_sigmask(SIG_UNBLOCK, &one, NULL);
    raise(told.number);
    _exit(CODE_AT_WORST);
}

static void linux_crash_on_crash(int number, siginfo_t *info, void *context) {
    if (atomic_flag_test_and_set(&crashing)) {
        if (pthread_equal(told.thread, pthread_self())) {
            on_second_crash();
        }
        while (true) { /* another thread crashed first; this one waits for the end of the process */
            pause();
        }
    }
    told.thread = pthread_self();
    told.number = number;
    signal(SIGALRM, SIG_DFL);
    alarm(CRASH_REPORT_S);
    told.crash = (struct os_crash){
        .what = number == SIGABRT && atomic_load(&hung)
                    ? atomic_load(&hung)
                    : linux_crash_text_of(number, info->si_code),
        .has_address = (number == SIGSEGV || number == SIGBUS) && info->si_code > 0 &&
                       info->si_code != SI_KERNEL,
        .address = (uintptr_t)info->si_addr,
        .code = (const void *)(uintptr_t)*instruction_of(context),
    };
    words.first(&told.crash);
    linux_crash_trace(&told.crash, context);
    told.told = true;
    words.frames(&told.crash);
    linux_crash_end(number);
}

/* The thread may block the signal, have a handler of its own, or be blocked in the kernel for good.
 * */
_Noreturn void os_crash_hung(uintptr_t thread, const char *what) {
    atomic_store(&hung, what);
    if (!SANITIZED && pthread_kill((pthread_t)thread, SIGABRT) == 0) {
        for (int i = 0; i < HUNG_LOOKS; i++) {
            usleep(HUNG_LOOK_US);
        }
    }
    if (!atomic_flag_test_and_set(&crashing)) {
        told.crash = (struct os_crash){.what = what, .elsewhere = true};
        words.first(&told.crash);
        words.frames(&told.crash);
    }
    signal(SIGABRT, SIG_DFL);
    raise(SIGABRT);
    _exit(CODE_AT_WORST);
}

void *os_crash_thread_begin(void) {
    stack_t stack = {.ss_size = STACK_BYTES};
    if (SANITIZED) {
        return NULL;
    }
    void *memory = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    stack.ss_sp = memory;
    if (memory == MAP_FAILED || sigaltstack(&stack, NULL) != 0) {
        return NULL; /* only a stack overflow is not reported then */
    }
    return memory;
}

void os_crash_thread_end(void *prepared) {
    stack_t none = {.ss_flags = SS_DISABLE};
    if (prepared) {
        sigaltstack(&none, NULL);
        munmap(prepared, STACK_BYTES);
    }
}

unsigned os_crash_stack(void **frames, unsigned max) {
    int count = backtrace(frames, (int)max);
    return count > 0 ? (unsigned)count : 0;
}

void os_crash_start(const struct os_crash_words *last_words) {
    static bool started;
    void *frame;
    words = *last_words;
    if (SANITIZED || started) {
        return;
    }
    started = true;
    backtrace(&frame, 1); /* the first call loads a library, which a crash must not */
    os_crash_thread_begin();
    struct sigaction action = {.sa_sigaction = linux_crash_on_crash,
                               .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < ARRAY_COUNT(signals); i++) {
        sigaction(signals[i], &action, NULL);
    }
}

void os_crash_start_again(void) {
    /* A library that handles these signals does so on purpose, and calls the earlier handler. */
}

static const char *name_in(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* A library whose copy is in memory was loaded by its descriptor's path, and the system knows the
 * name that the memory was given: "/memfd:NAME (deleted)". */
static void name_library(const char *path, char *text, size_t size) {
    static const char by_descriptor[] = "/proc/self/fd/";
    static const char in_memory[] = "/memfd:";
    char target[256];
    ssize_t length = -1;
    if (strncmp(path, by_descriptor, sizeof(by_descriptor) - 1) == 0) {
        length = readlink(path, target, sizeof(target) - 1);
    }
    if (length > 0 && strncmp(target, in_memory, sizeof(in_memory) - 1) == 0) {
        target[length] = '\0';
        const char *name = target + sizeof(in_memory) - 1;
        snprintf(text, size, "%.*s", (int)strcspn(name, " "), name);
    } else {
        snprintf(text, size, "%s", name_in(path));
    }
}

void os_crash_file(const void *frame, char *text, size_t size) {
    Dl_info info;
    text[0] = '\0';
    if (dladdr(frame, &info) != 0 && info.dli_fname) {
        name_library(info.dli_fname, text, size);
    }
}

void os_crash_describe(const void *frame, char *text, size_t size) {
    Dl_info info;
    if (dladdr(frame, &info) == 0 || !info.dli_fname) {
        snprintf(text, size, "%p", frame);
        return;
    }
    char file[128];
    name_library(info.dli_fname, file, sizeof(file));
    const char *base = info.dli_sname ? info.dli_saddr : info.dli_fbase;
    snprintf(text, size, "%s(%s+0x%zx) [+0x%zx]", file, info.dli_sname ? info.dli_sname : "",
             (size_t)((const char *)frame - base),
             (size_t)((const char *)frame - (const char *)info.dli_fbase));
}

/* Standard error may be a pipe or a terminal that accepts nothing at present. A crashed process
 * must not wait for it, so it is opened once more, non-blocking, for this use alone. */
static int open_again(mode_t type) {
    return type == S_IFIFO || type == S_IFCHR
               ? open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY)
               : -1;
}

static ssize_t write_some(int fd, mode_t type, const char *text, size_t size) {
    if (type == S_IFSOCK) {
        return send(STDERR_FILENO, text, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    return write(fd >= 0 ? fd : STDERR_FILENO, text, size);
}

void os_crash_write(const char *text, size_t size) {
    static uint64_t end_ms;
    static mode_t type;
    static int fd = -1;
    struct stat status;
    if (end_ms == 0) {
        end_ms = os_now_ms() + OS_CRASH_WRITE_MS;
        type = fstat(STDERR_FILENO, &status) == 0 ? status.st_mode & S_IFMT : 0;
        fd = open_again(type);
    }
    while (size > 0) {
        uint64_t now_ms = os_now_ms();
        struct pollfd wait = {.fd = STDERR_FILENO, .events = POLLOUT};
        if (now_ms >= end_ms || poll(&wait, 1, (int)(end_ms - now_ms)) == 0) {
            return; /* the reader has taken nothing in time */
        }
        ssize_t written = write_some(fd, type, text, size);
        if (written < 0 && errno != EAGAIN && errno != EINTR) {
            return;
        }
        text += written > 0 ? written : 0;
        size -= written > 0 ? (size_t)written : 0;
    }
}
