/* os_linux_crash.c: signals that mean a crash.
 *
 * What runs here may have interrupted anything, malloc and the loader too: so nothing is called
 * that allocates, and an alarm ends the process in case something blocks all the same. */
#include <dlfcn.h>
#include <execinfo.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/macros.h"
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
    STACK_BYTES = 128 * 1024, /* of a thread, for its last words; untouched it costs no memory */
    LAST_WORDS_S = 5,
    FRAMES_OF_HANDLER = 8, /* room for what lies above the code that crashed */
};

static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
static void (*say)(const struct os_crash *crash);
static atomic_flag crashing = ATOMIC_FLAG_INIT;

static const char *text_of(int number, int code) {
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

static void *instruction_of(const ucontext_t *context) {
#if defined(__x86_64__)
    return (void *)(uintptr_t)context->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    return (void *)(uintptr_t)context->uc_mcontext.pc;
#else
    (void)context;
    return NULL;
#endif
}

/* The stack from the instruction that crashed on, without what the handler has put on top. */
static void trace(struct os_crash *crash, const ucontext_t *context) {
    void *frames[OS_CRASH_FRAMES_MAX + FRAMES_OF_HANDLER];
    int count = backtrace(frames, (int)ARRAY_COUNT(frames));
    const void *instruction = instruction_of(context);
    int first = 0;
    for (int i = 0; i < count; i++) {
        if (frames[i] == instruction) {
            first = i;
        }
    }
    for (int i = first; i < count && crash->frame_count < OS_CRASH_FRAMES_MAX; i++) {
        crash->frames[crash->frame_count++] = frames[i];
    }
}

static void on_crash(int number, siginfo_t *info, void *context) {
    if (atomic_flag_test_and_set(&crashing)) {
        while (true) { /* another thread was first; its end is ours */
            pause();
        }
    }
    signal(SIGALRM, SIG_DFL);
    alarm(LAST_WORDS_S);
    struct os_crash crash = {
        .what = text_of(number, info->si_code),
        .has_address = (number == SIGSEGV || number == SIGBUS) && info->si_code > 0,
        .address = (uintptr_t)info->si_addr,
    };
    trace(&crash, context);
    say(&crash);
    /* It is held back until this handler returns, and then finds the process as it crashed. */
    signal(number, SIG_DFL);
    raise(number);
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
        return NULL; /* only an overflow of the stack goes without last words then */
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

void os_crash_start(void (*last_words)(const struct os_crash *crash)) {
    static bool started;
    void *frame;
    if (SANITIZED || started) {
        return;
    }
    started = true;
    say = last_words;
    backtrace(&frame, 1); /* the first call loads a library, which a crash must not */
    os_crash_thread_begin();
    struct sigaction action = {.sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < ARRAY_COUNT(signals); i++) {
        sigaction(signals[i], &action, NULL);
    }
}

void os_crash_describe(const void *frame, char *text, size_t size) {
    Dl_info info;
    if (dladdr(frame, &info) == 0 || !info.dli_fname) {
        snprintf(text, size, "%p", frame);
        return;
    }
    const char *slash = strrchr(info.dli_fname, '/');
    const char *file = slash ? slash + 1 : info.dli_fname;
    const char *base = info.dli_sname ? info.dli_saddr : info.dli_fbase;
    snprintf(text, size, "%s(%s+0x%zx) [+0x%zx]", file, info.dli_sname ? info.dli_sname : "",
             (size_t)((const char *)frame - base),
             (size_t)((const char *)frame - (const char *)info.dli_fbase));
}

void os_crash_write(const char *text, size_t size) {
    ssize_t ignored = write(STDERR_FILENO, text, size);
    (void)ignored; /* there is nobody left to tell */
}
