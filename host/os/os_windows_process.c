#include <windows.h>

#include <io.h>
#include <psapi.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "os/os.h"
#include "os/os_process.h"
#include "os/os_windows.h"

enum {
    CHUNK_BYTES = 4096,
    LINE_MAX_CHARACTERS = 32767,
    TICK_MS = 10,
    END_MS = 5000,
    KILLED_CODE = 9
};

bool os_executable_path(char *path, size_t size, struct error *error) {
    wchar_t wide[WINDOWS_PATH_MAX];
    DWORD length = GetModuleFileNameW(NULL, wide, WINDOWS_PATH_MAX);
    if (length == 0 || length == WINDOWS_PATH_MAX) {
        return windows_error_set(error, GetLastError());
    }
    return windows_text(wide, path, size) || error_set(error, "the path is too long");
}

bool os_executable_again(char *path, size_t size, struct error *error) {
    return os_executable_path(path, size, error); /* Windows keeps the file while it runs */
}

/* -- running a process ----------------------------------------------------- */

static bool windows_process_keep_output(struct os_process_result *result, const char *chunk,
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

/* One argument in quotes, in the form that the C run-time of the other program parses: backslashes
 * before a quote are doubled, a quote gets one. */
static size_t windows_process_quote(const char *argument, char *line, size_t at, size_t size) {
    size_t slashes = 0;
    if (at + 2 * strlen(argument) + 4 > size) {
        return size;
    }
    line[at++] = '"';
    for (; *argument; argument++) {
        slashes = *argument == '\\' ? slashes + 1 : 0;
        if (*argument == '"') {
            line[at++] = '\\';
        }
        line[at++] = *argument;
        if (slashes > 0 && (argument[1] == '"' || argument[1] == '\0')) {
            memset(line + at, '\\', slashes);
            at += slashes;
            slashes = 0;
        }
    }
    line[at++] = '"';
    line[at++] = ' ';
    line[at] = '\0';
    return at;
}

static wchar_t *command_line(const char *const *arguments, struct error *error) {
    char *line = alloc_array(LINE_MAX_CHARACTERS, 2);
    wchar_t *wide = alloc_array(LINE_MAX_CHARACTERS, sizeof(*wide));
    size_t at = 0;
    for (size_t i = 0; line && wide && arguments[i] && at < LINE_MAX_CHARACTERS; i++) {
        at = windows_process_quote(arguments[i], line, at, LINE_MAX_CHARACTERS);
    }
    bool good = line && wide && at < LINE_MAX_CHARACTERS &&
                MultiByteToWideChar(CP_UTF8, 0, line, -1, wide, LINE_MAX_CHARACTERS) > 0;
    alloc_free(line);
    if (!good) {
        alloc_free(wide);
        error_set(error, "the command line is too long, or memory is short");
        return NULL;
    }
    return wide;
}

/* All processes in the job end when its last handle is closed, also by the end of this process, and
 * so do their child processes. NULL: the system refuses it; then only the time-out ends them. */
static HANDLE create_job(void) {
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits = {
        .BasicLimitInformation = {.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE}};
    HANDLE job = CreateJobObjectW(NULL, NULL);
    if (job &&
        !SetInformationJobObject(job, JobObjectExtendedLimitInformation, &limits, sizeof(limits))) {
        CloseHandle(job);
        job = NULL;
    }
    return job;
}

static bool windows_process_spawn(struct windows_process *child, const char *const *arguments,
                                  HANDLE output, HANDLE job, struct error *error) {
    wchar_t program[WINDOWS_PATH_MAX];
    if (!windows_path(arguments[0], program, WINDOWS_PATH_MAX, error)) {
        return false;
    }
    wchar_t *line = command_line(arguments, error);
    if (!line) {
        return false;
    }
    struct windows_standard standard = {
        .input = CreateFileW(L"NUL", GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE, NULL,
                             OPEN_EXISTING, 0, NULL),
        .output = output,
        .error = GetStdHandle(STD_ERROR_HANDLE),
        .job = job,
    };
    bool started = windows_process_start(program, line, 0, &standard, child);
    DWORD code = GetLastError();
    alloc_free(line);
    CloseHandle(standard.input);
    if (!started) {
        windows_error_set(error, code);
        return error_prefix(error, "starting %s: ", arguments[0]);
    }
    return true;
}

bool os_process_become(const char *const *arguments, int *code, struct error *error) {
    char path[OS_PATH_MAX];
    wchar_t program[WINDOWS_PATH_MAX];
    struct windows_process child = {0};
    DWORD ended = 1;
    int length = snprintf(path, sizeof(path), "%s.exe", arguments[0]);
    if (length < 0 || (size_t)length >= sizeof(path)) {
        return error_set(error, "the path is too long");
    }
    if (!windows_path(path, program, WINDOWS_PATH_MAX, error)) {
        return false;
    }
    wchar_t *line = command_line(arguments, error);
    if (!line) {
        return false;
    }
    struct windows_standard standard = {
        .input = GetStdHandle(STD_INPUT_HANDLE),
        .output = GetStdHandle(STD_OUTPUT_HANDLE),
        .error = GetStdHandle(STD_ERROR_HANDLE),
    };
    bool started = windows_process_start(program, line, 0, &standard, &child);
    DWORD why = GetLastError();
    alloc_free(line);
    if (!started) {
        return windows_error_set(error, why);
    }
    WaitForSingleObject(child.handle, INFINITE);
    GetExitCodeProcess(child.handle, &ended);
    CloseHandle(child.handle);
    *code = (int)ended;
    return true;
}

/* Anonymous pipes have no time-out, so this polls every few milliseconds. */
static void windows_process_collect(HANDLE from, HANDLE process, uint64_t until, size_t output_max,
                                    struct os_process_result *result) {
    char chunk[CHUNK_BYTES];
    bool ended = false;
    windows_process_keep_output(result, "", 0, output_max);
    for (;;) {
        DWORD there = 0;
        DWORD got = 0;
        if (PeekNamedPipe(from, NULL, 0, NULL, &there, NULL) && there > 0) {
            if (!ReadFile(from, chunk, sizeof(chunk), &got, NULL) ||
                !windows_process_keep_output(result, chunk, got, output_max)) {
                return;
            }
            continue;
        }
        if (ended) {
            return;
        }
        ended = WaitForSingleObject(process, TICK_MS) == WAIT_OBJECT_0;
        if (!ended && os_now_ms() >= until) {
            result->timed_out = true;
            return;
        }
    }
}

bool os_process_run(const char *const *arguments, int descriptor, int timeout_ms, size_t output_max,
                    struct os_process_result *result, struct error *error) {
    HANDLE from = NULL;
    HANDLE to = NULL;
    struct windows_process child = {0};
    DWORD code = 0;
    (void)descriptor; /* a copy is a file here */
    *result = (struct os_process_result){0};
    if (!CreatePipe(&from, &to, NULL, 0)) {
        return windows_error_set(error, GetLastError());
    }
    HANDLE job = create_job();
    bool started = windows_process_spawn(&child, arguments, to, job, error);
    CloseHandle(to);
    if (started) {
        uint64_t until_ms = os_now_ms() + (uint64_t)timeout_ms;
        windows_process_collect(from, child.handle, until_ms, output_max, result);
        uint64_t now_ms = os_now_ms();
        DWORD left_ms = now_ms < until_ms ? (DWORD)(until_ms - now_ms) : 0;
        result->timed_out =
            result->timed_out || WaitForSingleObject(child.handle, left_ms) != WAIT_OBJECT_0;
        if (result->timed_out) {
            TerminateProcess(child.handle, KILLED_CODE);
            WaitForSingleObject(child.handle, END_MS);
        }
        GetExitCodeProcess(child.handle, &code);
        CloseHandle(child.handle);
        if (code >= 0xC0000000u) {
            snprintf(result->end, sizeof(result->end), "exception 0x%08lX", (unsigned long)code);
        } else {
            result->code = (int)code;
        }
    }
    if (job) {
        CloseHandle(job);
    }
    CloseHandle(from);
    return started;
}

void os_process_end_with_parent(void) {}

/* -- the end of this process ----------------------------------------------- */

static void (*crash_words)(const char *how, bool no_code);

static LONG WINAPI on_exception(EXCEPTION_POINTERS *pointers) {
    char how[64];
    const EXCEPTION_RECORD *record = pointers->ExceptionRecord;
    bool is_fault = (record->ExceptionCode == EXCEPTION_ACCESS_VIOLATION ||
                     record->ExceptionCode == EXCEPTION_IN_PAGE_ERROR) &&
                    record->NumberParameters >= 2;
    snprintf(how, sizeof(how), "exception 0x%08lX", (unsigned long)record->ExceptionCode);
    crash_words(how,
                is_fault && record->ExceptionInformation[1] == (ULONG_PTR)record->ExceptionAddress);
    os_process_exit_now(1);
}

static void windows_process_on_abort(int number) {
    (void)number;
    crash_words("abort()", false);
    os_process_exit_now(1);
}

void os_process_on_crash(void (*last_words)(const char *how, bool no_code)) {
    crash_words = last_words;
    SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX);
    windows_filter_set(on_exception);
    signal(SIGABRT, windows_process_on_abort);
}

static HANDLE output; /* NULL: standard output */

/* Redirects stdout of the C library that most plugins share with the host, and the standard handle
 * for plugins that have their own C library. */
bool os_process_keep_output(struct error *error) {
    HANDLE self = GetCurrentProcess();
    HANDLE kept = NULL;
    if (!DuplicateHandle(self, GetStdHandle(STD_OUTPUT_HANDLE), self, &kept, 0, FALSE,
                         DUPLICATE_SAME_ACCESS)) {
        windows_error_set(error, GetLastError());
        return error_prefix(error, "keeping standard output: ");
    }
    if (!freopen("NUL", "w", stdout)) {
        CloseHandle(kept);
        return error_set(error, "keeping standard output: NUL cannot be opened");
    }
    SetStdHandle(STD_OUTPUT_HANDLE, (HANDLE)_get_osfhandle(_fileno(stdout)));
    output = kept;
    return true;
}

void os_process_write(const char *text, size_t size) {
    DWORD written = 0;
    WriteFile(output ? output : GetStdHandle(STD_OUTPUT_HANDLE), text, (DWORD)size, &written, NULL);
}

/* Not ExitProcess(), which waits for locks that the crashed thread may hold. */
void os_process_exit_now(int code) {
    windows_console_restore_mode();
    TerminateProcess(GetCurrentProcess(), (UINT)code);
    for (;;) {
        Sleep(INFINITE);
    }
}

void os_process_end_within(unsigned seconds) {
    (void)seconds;
}

/* -- memory and handles ---------------------------------------------------- */

size_t os_process_memory_bytes(void) {
    PROCESS_MEMORY_COUNTERS counters = {.cb = sizeof(counters)};
    return K32GetProcessMemoryInfo(GetCurrentProcess(), &counters, sizeof(counters))
               ? counters.PagefileUsage
               : 0;
}

unsigned os_process_handle_count(void) {
    DWORD count = 0;
    return GetProcessHandleCount(GetCurrentProcess(), &count) ? count : 0;
}
