/* os_windows.c: the process, its clock, memory, threads, signals and libraries. Files are in
 * os_windows_files.c.
 *
 * Two rules hold in both. All text is converted to UTF-16 and only W functions are called: the A
 * functions use the code page of the machine. And nothing here loads user32 or shell32: a console
 * process that has loaded user32 gets no logoff and shutdown events. That is why the command line
 * is parsed here and not by CommandLineToArgvW. */
#define _CRT_RAND_S /* for rand_s(), which uses the system's generator */
#include <windows.h>

#include <process.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"
#include "os/os.h"
#include "os/os_crash.h"
#include "os/os_windows.h"

/* -- text ------------------------------------------------------------------ */

bool windows_text(const wchar_t *wide, char *text, size_t size) {
    return size > 0 && size <= INT_MAX &&
           WideCharToMultiByte(CP_UTF8, 0, wide, -1, text, (int)size, NULL, NULL) > 0;
}

static DWORD message_lookup(DWORD code, DWORD language, wchar_t *wide, DWORD capacity) {
    return FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, NULL, code,
                          language, wide, capacity, NULL);
}

void windows_error_text(unsigned long code, char *text, size_t size) {
    wchar_t wide[512];
    /* English first: the rest of the line is English, and so are most search results. A system
     * without English messages has those of its own language. */
    DWORD length =
        message_lookup(code, MAKELANGID(LANG_ENGLISH, SUBLANG_ENGLISH_US), wide, ARRAY_COUNT(wide));
    if (length == 0) {
        length = message_lookup(code, 0, wide, ARRAY_COUNT(wide));
    }
    while (length > 0 && (wide[length - 1] <= L' ' || wide[length - 1] == L'.')) {
        length--;
    }
    wide[length < ARRAY_COUNT(wide) ? length : ARRAY_COUNT(wide) - 1] = L'\0';
    for (wchar_t *at = wide; *at; at++) {
        if (*at == L'\r' || *at == L'\n') {
            *at = L' '; /* some messages have several lines */
        }
    }
    char words[1024];
    if (length == 0 || !windows_text(wide, words, sizeof(words))) {
        snprintf(text, size, "Windows error %lu", code);
        return;
    }
    snprintf(text, size, "%s (Windows error %lu)", words, code);
}

bool windows_error_set(struct error *error, unsigned long code) {
    char text[1100];
    enum error_kind kind = ERROR_KIND_OTHER;
    switch (code) {
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
    case ERROR_INVALID_NAME:
    case ERROR_BAD_PATHNAME:
    case ERROR_DIRECTORY:
    case ERROR_DELETE_PENDING:
        kind = ERROR_KIND_NOT_FOUND;
        break;
    case ERROR_ACCESS_DENIED:
    case ERROR_SHARING_VIOLATION:
        kind = ERROR_KIND_DENIED;
        break;
    case ERROR_TOO_MANY_OPEN_FILES:
    case ERROR_NOT_ENOUGH_MEMORY:
    case ERROR_NO_SYSTEM_RESOURCES:
        kind = ERROR_KIND_EXHAUSTED;
        break;
    default:
        break;
    }
    windows_error_text(code, text, sizeof(text));
    return error_set_kind(error, kind, "%s", text);
}

/* -- the process ----------------------------------------------------------- */

/* Takes one argument off the command line, by the rules that Microsoft's C run-time documents:
 * blanks divide, quotes group, 2n backslashes before a quote are n and the quote counts, 2n+1 are n
 * and a literal quote, and a doubled quote inside quotes is one. In the program's own name, the
 * first, backslashes are not special. Writes at most as many characters as it reads. */
static const wchar_t *argument_take(const wchar_t *at, bool first, wchar_t *argument) {
    bool quoted = false;
    while (*at && (quoted || (*at != L' ' && *at != L'\t'))) {
        size_t slashes = 0;
        while (!first && at[slashes] == L'\\') {
            slashes++;
        }
        if (slashes > 0) {
            bool before_quote = at[slashes] == L'"';
            at += slashes;
            for (size_t i = 0; i < (before_quote ? slashes / 2 : slashes); i++) {
                *argument++ = L'\\';
            }
            if (before_quote && slashes % 2 == 1) {
                *argument++ = *at++;
            }
        } else if (*at == L'"') {
            at++;
            if (quoted && !first && *at == L'"') {
                *argument++ = *at++;
            } else {
                quoted = !quoted;
            }
        } else {
            *argument++ = *at++;
        }
    }
    *argument = L'\0';
    while (*at == L' ' || *at == L'\t') {
        at++;
    }
    return at;
}

/* The command line as UTF-8 arguments, in one block that lives as long as the process. */
static bool arguments_convert(int *argc, char ***argv, struct error *error) {
    const wchar_t *line = GetCommandLineW();
    size_t length = wcslen(line);
    /* An argument needs a divider, so there are at most half as many as characters, and the name;
     * a UTF-16 unit takes at most three bytes of UTF-8. */
    size_t pointers = length / 2 + 3;
    size_t bytes = length * 3 + pointers;
    char **vector = HeapAlloc(GetProcessHeap(), 0, pointers * sizeof(char *) + bytes);
    wchar_t *argument = alloc_array(length + 1, sizeof(wchar_t));
    if (!vector || !argument) {
        HeapFree(GetProcessHeap(), 0, vector);
        alloc_free(argument);
        return error_set(error, "out of memory");
    }
    char *text = (char *)(vector + pointers);
    char *end = text + bytes;
    int count = 0;
    const wchar_t *at = line;
    do {
        at = argument_take(at, count == 0, argument);
        bool fits = windows_text(argument, text, (size_t)(end - text));
        ASSERT(fits);
        vector[count++] = text;
        text += strlen(text) + 1;
    } while (*at);
    vector[count] = NULL;
    alloc_free(argument);
    *argc = count;
    *argv = vector;
    return true;
}

/* The console belongs to the shell that started this process: its code page is restored. */
static UINT console_code_page_before;

static void console_restore(void) {
    SetConsoleOutputCP(console_code_page_before);
}

/* No dialog "insert a disk" or "the library is missing" may block a server, nor one of the error
 * reporting after a crash: a host without a supervisor would neither serve nor end until a user
 * closes it. The report itself, and the dump that an administrator asks for (LocalDumps), stay. */
void windows_show_no_dialogs(void) {
    typedef HRESULT(WINAPI * wer_set_flags)(DWORD);
    enum { NO_UI = 32 }; /* WER_FAULT_REPORTING_NO_UI, which mingw-w64 10 does not define */
    wer_set_flags set = NULL;
    FARPROC found = GetProcAddress(GetModuleHandleW(L"kernel32.dll"), "WerSetFlags");
    SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOOPENFILEERRORBOX);
    if (found) {
        memcpy(&set, &found, sizeof(set));
        set(NO_UI);
    }
}

bool os_start(int *argc, char ***argv, struct error *error) {
    windows_show_no_dialogs();
    console_code_page_before = GetConsoleOutputCP();
    if (console_code_page_before != 0 && console_code_page_before != CP_UTF8 &&
        SetConsoleOutputCP(CP_UTF8)) {
        atexit(console_restore);
    }
    return arguments_convert(argc, argv, error);
}

void os_signals_leave(void) {} /* without a handler Ctrl-C ends the process */

bool os_init_process(int *code) {
    (void)code;
    return false; /* Windows has no orphans to reap */
}

uint64_t os_process_id(void) {
    return GetCurrentProcessId();
}

/* If the system refuses, values that differ between processes are used instead. */
void os_random(void *bytes, size_t size) {
    for (size_t at = 0; at < size; at += sizeof(unsigned)) {
        size_t part = size - at < sizeof(unsigned) ? size - at : sizeof(unsigned);
        unsigned number;
        if (rand_s(&number) != 0) {
            number = (unsigned)(os_now_us() ^ GetCurrentProcessId() ^ (uintptr_t)bytes);
        }
        memcpy((char *)bytes + at, &number, part);
    }
}

bool os_random_secret(void *bytes, size_t size) {
    for (size_t at = 0; at < size; at += sizeof(unsigned)) {
        size_t part = size - at < sizeof(unsigned) ? size - at : sizeof(unsigned);
        unsigned number;
        if (rand_s(&number) != 0) {
            return false;
        }
        memcpy((char *)bytes + at, &number, part);
    }
    return true;
}

const char *os_name(void) {
    return "windows";
}

bool os_executable_folder(char *path, size_t size, struct error *error) {
    wchar_t wide[WINDOWS_PATH_MAX];
    DWORD length = GetModuleFileNameW(NULL, wide, ARRAY_COUNT(wide));
    if (length == 0) {
        return windows_error_set(error, GetLastError());
    }
    char file[OS_PATH_MAX];
    if (length >= ARRAY_COUNT(wide) || !windows_text(wide, file, sizeof(file)) ||
        !os_path_folder(path, size, file)) {
        return error_set(error, "the path of the executable is too long");
    }
    return true;
}

/* -- clock and memory ------------------------------------------------------ */

uint64_t os_now_us(void) {
    static atomic_llong frequency; /* fixed at boot, so every thread stores the same */
    LARGE_INTEGER value;
    long long per_second = atomic_load_explicit(&frequency, memory_order_relaxed);
    if (per_second == 0) {
        QueryPerformanceFrequency(&value); /* neither call fails on any Windows since XP */
        per_second = value.QuadPart;
        atomic_store_explicit(&frequency, per_second, memory_order_relaxed);
    }
    QueryPerformanceCounter(&value);
    /* In two parts: the product would overflow after some days at 10 MHz. */
    uint64_t seconds = (uint64_t)(value.QuadPart / per_second);
    uint64_t rest = (uint64_t)(value.QuadPart % per_second);
    return seconds * 1000000 + rest * 1000000 / (uint64_t)per_second;
}

int64_t os_unix_ns(void) {
    const int64_t ticks_1970 = INT64_C(116444736000000000); /* of 100 ns since 1601 */
    FILETIME time;
    GetSystemTimePreciseAsFileTime(&time);
    int64_t ticks = (int64_t)((uint64_t)time.dwHighDateTime << 32 | time.dwLowDateTime);
    return (ticks - ticks_1970) * 100;
}

uint64_t os_now_ms(void) {
    return os_now_us() / 1000;
}

void *os_pages_alloc(size_t size) {
    if (alloc_fails_now()) {
        return NULL;
    }
    void *pages = VirtualAlloc(NULL, size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    if (!pages && alloc_failed()) {
        pages = VirtualAlloc(NULL, size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    }
    return pages;
}

void os_pages_free(void *pages, size_t size) {
    (void)size; /* the whole reservation is released */
    if (pages) {
        BOOL freed = VirtualFree(pages, 0, MEM_RELEASE);
        ASSERT(freed);
    }
}

void os_heap_trim(void) {
    HeapCompact(GetProcessHeap(), 0);
}

size_t os_page_bytes(void) {
    SYSTEM_INFO info;
    GetSystemInfo(&info);
    return info.dwPageSize;
}

/* -- threads --------------------------------------------------------------- */

struct thread_start {
    void (*function)(void *argument);
    void *argument;
    wchar_t name[16];
};

typedef HRESULT(WINAPI *set_description_fn)(HANDLE thread, PCWSTR description);

/* Thread names only help debuggers: a failure is ignored. Windows 10 1607 and Server 2016 have the
 * function in KernelBase only, so it is looked up and not linked. */
static void thread_name(const wchar_t *name) {
    HMODULE kernel = GetModuleHandleW(L"KernelBase.dll");
    FARPROC found = kernel ? GetProcAddress(kernel, "SetThreadDescription") : NULL;
    if (found) {
        set_description_fn set_description;
        memcpy(&set_description, &found, sizeof(set_description));
        set_description(GetCurrentThread(), name);
    }
}

enum { SMALL_STACK_BYTES = 256 * 1024 };

static unsigned __stdcall windows_thread_main(void *argument) {
    struct thread_start start = *(struct thread_start *)argument;
    alloc_free(argument);
    thread_name(start.name);
    void *prepared = os_crash_thread_begin();
    start.function(start.argument);
    os_crash_thread_end(prepared);
    return 0;
}

/* 0 bytes of stack: as many as the executable's header says. */
static bool thread_begin(struct os_thread *thread, const char *name, unsigned stack_bytes,
                         void (*function)(void *argument), void *argument, struct error *error) {
    struct thread_start *start = alloc_zeroed(sizeof(*start));
    if (!start) {
        return error_set(error, "out of memory");
    }
    start->function = function;
    start->argument = argument;
    /* With a name that is too long the thread stays unnamed, which does no harm. */
    if (MultiByteToWideChar(CP_UTF8, 0, name, -1, start->name, ARRAY_COUNT(start->name)) == 0) {
        start->name[0] = L'\0';
    }
    thread->handle = _beginthreadex(NULL, stack_bytes, windows_thread_main, start,
                                    STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
    if (thread->handle == 0) {
        unsigned long code = _doserrno;
        alloc_free(start);
        return windows_error_set(error, code);
    }
    return true;
}

bool os_thread_start(struct os_thread *thread, const char *name, void (*function)(void *argument),
                     void *argument, struct error *error) {
    return thread_begin(thread, name, 0, function, argument, error);
}

bool os_thread_start_small(struct os_thread *thread, const char *name,
                           void (*function)(void *argument), void *argument, struct error *error) {
    return thread_begin(thread, name, SMALL_STACK_BYTES, function, argument, error);
}

void os_thread_join(struct os_thread *thread) {
    HANDLE handle = (HANDLE)thread->handle;
    DWORD waited = WaitForSingleObject(handle, INFINITE);
    ASSERT(waited == WAIT_OBJECT_0);
    CloseHandle(handle);
    thread->handle = 0;
}

void os_thread_abandon(struct os_thread *thread) {
    CloseHandle((HANDLE)thread->handle);
    thread->handle = 0;
}

static uint64_t windows_microseconds(FILETIME time) {
    return ((uint64_t)time.dwHighDateTime << 32 | time.dwLowDateTime) / 10;
}

void os_thread_usage(struct os_thread_usage *usage) {
    FILETIME created;
    FILETIME exited;
    FILETIME kernel = {0};
    FILETIME user = {0};
    GetThreadTimes(GetCurrentThread(), &created, &exited, &kernel, &user);
    usage->cpu_us = windows_microseconds(kernel) + windows_microseconds(user);
    usage->waits = UINT64_MAX;
    usage->faults = 0;
}

void os_sleep_ms(unsigned ms) {
    Sleep(ms);
}

uintptr_t os_thread_id(void) {
    return GetCurrentThreadId();
}

static uint64_t ticks_of(FILETIME time) {
    return (uint64_t)time.dwHighDateTime << 32 | time.dwLowDateTime;
}

uint64_t os_thread_processor_us(uintptr_t id) {
    FILETIME created;
    FILETIME ended;
    FILETIME kernel = {0};
    FILETIME user = {0};
    HANDLE thread = OpenThread(THREAD_QUERY_LIMITED_INFORMATION, FALSE, (DWORD)id);
    if (!thread) {
        return 0;
    }
    GetThreadTimes(thread, &created, &ended, &kernel, &user);
    CloseHandle(thread);
    return (ticks_of(kernel) + ticks_of(user)) / 10; /* of 100 ns */
}

_Static_assert(sizeof(SRWLOCK) <= sizeof(struct os_mutex), "os_mutex is too small");
_Static_assert(sizeof(CONDITION_VARIABLE) <= sizeof(struct os_condition),
               "os_condition is too small");

void os_mutex_init(struct os_mutex *mutex) {
    InitializeSRWLock((SRWLOCK *)mutex->room);
}

void os_mutex_fini(struct os_mutex *mutex) {
    (void)mutex; /* an SRW lock has no resources to free */
}

void os_mutex_lock(struct os_mutex *mutex) {
    AcquireSRWLockExclusive((SRWLOCK *)mutex->room);
}

void os_mutex_unlock(struct os_mutex *mutex) {
    ReleaseSRWLockExclusive((SRWLOCK *)mutex->room);
}

void os_condition_init(struct os_condition *condition) {
    InitializeConditionVariable((CONDITION_VARIABLE *)condition->room);
}

void os_condition_fini(struct os_condition *condition) {
    (void)condition; /* it has no resources to free, either */
}

void os_condition_signal(struct os_condition *condition) {
    WakeConditionVariable((CONDITION_VARIABLE *)condition->room);
}

void os_condition_signal_all(struct os_condition *condition) {
    WakeAllConditionVariable((CONDITION_VARIABLE *)condition->room);
}

bool os_condition_wait(struct os_condition *condition, struct os_mutex *mutex, int timeout_ms) {
    return SleepConditionVariableSRW((CONDITION_VARIABLE *)condition->room, (SRWLOCK *)mutex->room,
                                     timeout_ms < 0 ? INFINITE : (DWORD)timeout_ms, 0);
}

/* -- requests to stop ------------------------------------------------------ */

/* The system calls the console handler on a thread of its own, at any time until the process ends:
 * so these live as long as the process and are never closed. */
static HANDLE signals_changed;  /* auto-reset: a request, or a wake */
static HANDLE signals_finished; /* manual-reset: the host has stopped */
static atomic_uint stop_requests;

enum { SESSION_END_MS = 3000 };

/* Console events are ignored here: the parent passes them on. */
static atomic_bool passed_on_by_parent;

/* A service gets the logoff event of every user, and ignores it. */
static bool is_service(void) {
    DWORD session = 0;
    return ProcessIdToSessionId(GetCurrentProcessId(), &session) && session == 0;
}

static void request_stop(void) {
    if (!atomic_load(&passed_on_by_parent)) {
        windows_signals_ask();
    }
}

void windows_console_event(unsigned long event) {
    if (event == CTRL_LOGOFF_EVENT && is_service()) {
        return;
    }
    request_stop();
    if (event != CTRL_C_EVENT && event != CTRL_BREAK_EVENT) {
        /* Close, logoff, shutdown: the process is ended as soon as this returns, and after five
         * seconds in any case. So a second request aborts the connections before that. */
        if (WaitForSingleObject(signals_finished, SESSION_END_MS) != WAIT_OBJECT_0) {
            request_stop();
            WaitForSingleObject(signals_finished, INFINITE);
        }
    }
}

static BOOL WINAPI on_console_event(DWORD event) {
    windows_console_event(event);
    return TRUE;
}

void windows_signals_by_parent(void) {
    atomic_store(&passed_on_by_parent, true);
}

/* In quick edit mode a click into the window blocks every write to it until a key is pressed. */
static DWORD console_mode_before; /* including quick edit; 0: not changed */

static HANDLE console_input(void) {
    return CreateFileW(L"CONIN$", GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE,
                       NULL, OPEN_EXISTING, 0, NULL);
}

void windows_console_restore_mode(void) {
    HANDLE console = console_mode_before != 0 ? console_input() : INVALID_HANDLE_VALUE;
    if (console != INVALID_HANDLE_VALUE) {
        SetConsoleMode(console, console_mode_before | ENABLE_EXTENDED_FLAGS);
        CloseHandle(console);
    }
    console_mode_before = 0;
}

static void console_leave_quick_edit(void) {
    HANDLE console = console_input();
    DWORD mode = 0;
    if (console == INVALID_HANDLE_VALUE) {
        return; /* there is no console */
    }
    if (console_mode_before == 0 && GetConsoleMode(console, &mode) &&
        (mode & ENABLE_QUICK_EDIT_MODE) != 0 &&
        SetConsoleMode(console, (mode & ~(DWORD)ENABLE_QUICK_EDIT_MODE) | ENABLE_EXTENDED_FLAGS)) {
        console_mode_before = mode;
        atexit(windows_console_restore_mode);
    }
    CloseHandle(console);
}

bool os_signals_start(struct error *error) {
    if (!signals_changed) {
        signals_changed = CreateEventW(NULL, FALSE, FALSE, NULL);
    }
    if (!signals_finished) {
        signals_finished = CreateEventW(NULL, TRUE, FALSE, NULL);
    }
    if (!signals_changed || !signals_finished || !SetConsoleCtrlHandler(on_console_event, TRUE)) {
        return windows_error_set(error, GetLastError());
    }
    /* The parent may ignore Ctrl-C, and children inherit that. */
    SetConsoleCtrlHandler(NULL, FALSE);
    console_leave_quick_edit();
    return true;
}

bool windows_signals_asked(void) {
    return atomic_load(&stop_requests) > 0;
}

enum os_signal os_signals_wait(int timeout_ms) {
    if (!windows_signals_asked()) {
        WaitForSingleObject(signals_changed, timeout_ms < 0 ? INFINITE : (DWORD)timeout_ms);
    }
    return os_signals_look();
}

enum os_signal os_signals_look(void) {
    unsigned count = atomic_load(&stop_requests);
    while (count > 0) {
        if (atomic_compare_exchange_weak(&stop_requests, &count, count - 1)) {
            return OS_SIGNAL_STOP;
        }
    }
    return OS_SIGNAL_NONE;
}

void *windows_signals_event(void) {
    return signals_changed;
}

void windows_signals_ask(void) {
    atomic_fetch_add(&stop_requests, 1);
    if (signals_changed) {
        SetEvent(signals_changed);
    }
}

void os_signals_wake(void) {
    if (signals_changed) {
        SetEvent(signals_changed);
    }
}

void os_signals_finished(void) {
    if (signals_finished) {
        SetEvent(signals_finished);
    }
}

/* -- libraries ------------------------------------------------------------- */

/* The opaque os_library is the module handle itself: Windows counts its references. */

const char *os_library_suffix(void) {
    return ".dll";
}

/* Codes that the headers of mingw-w64 10 do not define. */
enum { VIRUS_INFECTED = 225, POLICY_WITHOUT_WORDS = 786, POLICY_OF_INTEGRITY = 4551 };

void windows_library_error(struct error *error, const char *path, unsigned long code) {
    char folder[OS_PATH_MAX];
    char missing[MAX_PATH];
    char named[MAX_PATH + 128];
    const char *remedy = NULL;
    switch (code) {
    case ERROR_ACCESS_DISABLED_BY_POLICY: /* a software restriction policy, AppLocker */
    case POLICY_WITHOUT_WORDS:
    case POLICY_OF_INTEGRITY: /* App Control */
        remedy =
            "a policy of this machine forbids libraries there: set host.plugin_files.copies to "
            "a folder that it allows";
        break;
    case VIRUS_INFECTED:
        remedy = "the virus scanner takes it for harmful: look at its report";
        break;
    case ERROR_MOD_NOT_FOUND:
        snprintf(
            named, sizeof(named),
            "%.200s is missing: link it statically, or put it beside the plugin, into a folder "
            "plugins/NAME/",
            windows_missing_library(path, missing, sizeof(missing)) ? missing
                                                                    : "a library that it needs");
        remedy = named;
        break;
    case ERROR_BAD_EXE_FORMAT:
        remedy = "it, or a library that it needs, is built for another processor";
        break;
    default:
        break;
    }
    windows_error_set(error, code);
    if (remedy && os_path_folder(folder, sizeof(folder), path)) {
        char words[ERROR_MESSAGE_MAX];
        snprintf(words, sizeof(words), "%.300s (folder %.300s): %s", error ? error->message : "",
                 folder, remedy);
        error_set(error, "%s", words);
    }
}

struct os_library *os_library_open(const char *path, struct error *error) {
    wchar_t wide[WINDOWS_PATH_MAX];
    if (!os_path_is_absolute(path)) {
        error_set(error, "the path is not absolute");
        return NULL;
    }
    if (!windows_path(path, wide, ARRAY_COUNT(wide), error)) {
        return NULL;
    }
    DWORD mode = 0;
    struct windows_libraries libraries;
    if (!windows_libraries_enter(&libraries, path, error)) {
        return NULL;
    }
    SetThreadErrorMode(SEM_FAILCRITICALERRORS | SEM_NOOPENFILEERRORBOX, &mode);
    HMODULE module =
        LoadLibraryExW(wide, NULL, LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | LOAD_LIBRARY_SEARCH_SYSTEM32);
    DWORD code = GetLastError();
    SetThreadErrorMode(mode, NULL);
    windows_libraries_leave(&libraries);
    os_crash_start_again();
    if (!module) {
        windows_library_error(error, path, code);
        return NULL;
    }
    return (struct os_library *)module;
}

bool os_library_same(const struct os_library *one, const struct os_library *other) {
    return one == other;
}

void os_library_unique_symbol(const char *path, char *symbol, size_t size) {
    (void)path; /* a DLL shares nothing that it does not import */
    if (size > 0) {
        symbol[0] = '\0';
    }
}

void *os_library_symbol(struct os_library *library, const char *name) {
    FARPROC found = GetProcAddress((HMODULE)library, name);
    void *symbol;
    _Static_assert(sizeof(symbol) == sizeof(found), "code and data pointers differ in size");
    memcpy(&symbol, &found, sizeof(symbol)); /* C has no cast from function pointers */
    return symbol;
}

bool os_library_close(struct os_library *library) {
    HMODULE module = (HMODULE)library;
    if (!FreeLibrary(module)) {
        return false;
    }
    /* A module handle is the address it is mapped at: checks whether a module is still there. */
    HMODULE found;
    return !GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS |
                                   GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT,
                               (const wchar_t *)module, &found);
}
