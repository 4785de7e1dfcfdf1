#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/macros.h"
#include "os/os.h"
#include "os/os_linux.h"
#include "os/os_process.h"

enum { LOOK_NS = 1000000, CHUNK_BYTES = 4096, CRASH_STACK_BYTES = 65536 };

bool os_executable_path(char *path, size_t size, struct error *error) {
    ssize_t length = readlink("/proc/self/exe", path, size - 1);
    if (length < 0) {
        return error_set(error, "reading /proc/self/exe: %s", strerror(errno));
    }
    path[length] = '\0';
    return true;
}

bool os_executable_again(char *path, size_t size, struct error *error) {
    int length = snprintf(path, size, "/proc/self/exe");
    return (length > 0 && (size_t)length < size) || error_set(error, "the path is too long");
}

bool os_process_become(const char *const *arguments, int *code, struct error *error) {
    (void)code;
    execv(arguments[0], (char *const *)(uintptr_t)arguments);
    return error_set(error, "%s", strerror(errno));
}

/* -- running a process ----------------------------------------------------- */

static bool linux_process_keep_output(struct os_process_result *result, const char *chunk,
                                      size_t size, size_t output_max) {
    size_t room = output_max - result->output_size;
    size = size < room ? size : room;
    char *grown = alloc_resize(result->output, result->output_size + size + 1);
    if (!grown) {
        return false;
    }
    memcpy(grown + result->output_size, chunk, size);
    result->output = grown;
    result->output_size += size;
    grown[result->output_size] = '\0';
    return true;
}

/* Reads until the other end is closed, or the time-out passes. */
static void linux_process_collect(int from, uint64_t until, size_t output_max,
                                  struct os_process_result *result) {
    char chunk[CHUNK_BYTES];
    linux_process_keep_output(result, "", 0, output_max);
    for (;;) {
        uint64_t now = os_now_ms();
        struct pollfd one = {.fd = from, .events = POLLIN};
        int ready = now < until ? poll(&one, 1, (int)(until - now)) : 0;
        if (ready == 0) {
            result->timed_out = true;
            return;
        }
        ssize_t got = ready > 0 ? read(from, chunk, sizeof(chunk)) : -1;
        if (got == 0 || (got < 0 && errno != EINTR) ||
            (got > 0 && !linux_process_keep_output(result, chunk, (size_t)got, output_max))) {
            return;
        }
    }
}

static bool linux_process_spawn(pid_t *child, const char *const *arguments, int descriptor, int to,
                                struct error *error) {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    if (descriptor >= 0) { /* to itself: it is open in the other program, too */
        posix_spawn_file_actions_adddup2(&actions, descriptor, descriptor);
    }
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, to, STDOUT_FILENO);
    int code = posix_spawn(child, arguments[0], &actions, NULL, (char *const *)arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    return code == 0 || error_set(error, "starting %s: %s", arguments[0], strerror(code));
}

/* The process may close its output long before it ends, so this polls every few milliseconds. */
static bool ends_until(pid_t child, uint64_t until_ms, int *status) {
    const struct timespec pause = {.tv_nsec = LOOK_NS};
    while (waitpid(child, status, WNOHANG) == 0) {
        if (os_now_ms() >= until_ms) {
            return false;
        }
        nanosleep(&pause, NULL);
    }
    return true;
}

bool os_process_run(const char *const *arguments, int descriptor, int timeout_ms, size_t output_max,
                    struct os_process_result *result, struct error *error) {
    int ends[2];
    pid_t child = 0;
    int status = 0;
    *result = (struct os_process_result){0};
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return error_set(error, "making a pipe: %s", strerror(errno));
    }
    if (!linux_process_spawn(&child, arguments, descriptor, ends[1], error)) {
        close(ends[0]);
        close(ends[1]);
        return false;
    }
    close(ends[1]);
    uint64_t until_ms = os_now_ms() + (uint64_t)timeout_ms;
    linux_process_collect(ends[0], until_ms, output_max, result);
    close(ends[0]);
    result->timed_out = result->timed_out || !ends_until(child, until_ms, &status);
    if (result->timed_out) {
        kill(child, SIGKILL);
        while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
        }
    }
    if (WIFEXITED(status)) {
        result->code = WEXITSTATUS(status);
    } else if (WIFSIGNALED(status)) {
        snprintf(result->end, sizeof(result->end), "SIG%s", sigabbrev_np(WTERMSIG(status)));
    }
    return true;
}

/* The signal is sent when the thread ends that started this process, which is the control thread.
 * If that ended before the call, no process reads what this one writes. */
void os_process_end_with_parent(void) {
    struct pollfd output_pipe = {.fd = STDOUT_FILENO};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (poll(&output_pipe, 1, 0) > 0 && (output_pipe.revents & POLLERR) != 0) {
        _exit(1);
    }
}

/* -- the end of this process ----------------------------------------------- */

static const int crashes[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};
static void (*crash_words)(const char *how, bool no_code);

static void linux_process_on_crash(int number, siginfo_t *info, void *context) {
    char how[32];
    const char *name = sigabbrev_np(number);
    bool is_fault = number == SIGSEGV || number == SIGBUS;
    snprintf(how, sizeof(how), "SIG%s", name ? name : "?");
    crash_words(how, is_fault && info->si_code > 0 &&
                         (uintptr_t)info->si_addr == linux_crash_place(context));
    _exit(1);
}

void os_process_on_crash(void (*last_words)(const char *how, bool no_code)) {
    static char room[CRASH_STACK_BYTES]; /* a stack that has overflowed cannot be used */
    const stack_t stack = {.ss_sp = room, .ss_size = sizeof(room)};
    crash_words = last_words;
    sigaltstack(&stack, NULL);
    for (size_t i = 0; i < ARRAY_COUNT(crashes); i++) {
        struct sigaction action = {.sa_sigaction = linux_process_on_crash,
                                   .sa_flags = (int)(SA_ONSTACK | SA_RESETHAND | SA_SIGINFO)};
        sigaction(crashes[i], &action, NULL);
    }
}

static int output = STDOUT_FILENO;

bool os_process_keep_output(struct error *error) {
    int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    int kept = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    bool good = nowhere >= 0 && kept >= 0 && dup2(nowhere, STDOUT_FILENO) >= 0;
    if (good) {
        output = kept;
    } else {
        error_set(error, "keeping standard output: %s", strerror(errno));
    }
    if (nowhere >= 0) {
        close(nowhere);
    }
    return good;
}

void os_process_write(const char *text, size_t size) {
    while (size > 0) {
        ssize_t written = write(output, text, size);
        if (written <= 0) {
            return;
        }
        text += written;
        size -= (size_t)written;
    }
}

void os_process_exit_now(int code) {
    _exit(code);
}

void os_process_end_within(unsigned seconds) {
    sigset_t one;
    signal(SIGALRM, SIG_DFL);
    sigemptyset(&one);
    sigaddset(&one, SIGALRM);
    sigprocmask(SIG_UNBLOCK, &one, NULL);
    alarm(seconds);
}

/* -- memory and descriptors ------------------------------------------------ */

size_t os_process_memory_bytes(void) {
    unsigned long long all = 0;
    unsigned long long resident = 0;
    char line[128] = "";
    FILE *file = fopen("/proc/self/statm", "re");
    if (file) {
        char *end = fgets(line, sizeof(line), file);
        fclose(file);
        if (end) {
            all = strtoull(line, &end, 10);
            resident = strtoull(end, NULL, 10);
        }
    }
    return all > 0 ? (size_t)resident * os_page_bytes() : 0;
}

unsigned os_process_handle_count(void) {
    unsigned count = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (folder && readdir(folder)) {
        count++;
    }
    if (folder) {
        closedir(folder);
    }
    return count;
}
