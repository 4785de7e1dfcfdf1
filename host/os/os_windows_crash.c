/* os_windows_crash.c: unhandled exceptions, and abort().
 *
 * The filter of unhandled exceptions runs after all other handlers, so an exception that a plugin
 * handles is never taken for a crash. It runs from the first frame of the thread, which the search
 * for a handler does not reach when the stack is destroyed. A vectored handler, which runs before
 * that search, detects that. */
#include <windows.h>

#include <process.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "os/os.h"
#include "os/os_crash.h"
#include "os/os_windows.h"

enum {
    STACK_BYTES = 64 * 1024, /* what a stack overflow leaves for the crash report */
    EXCEPTION_OF_GCC = 0x20474343,
    CODE_OF_SECOND = 3, /* the exit code of abort() */
    WRITER_BYTES = 4096,
    CRASH_REPORT_MS = 5000,
};
static const DWORD EXCEPTION_OF_MSVC = 0xE06D7363;

static struct os_crash_words words;
static atomic_flag crashing = ATOMIC_FLAG_INIT;

/* A write to a pipe or a console that accepts nothing at present cannot be cancelled, so another
 * thread makes it. That thread is started before anything crashes. */
static struct {
    HANDLE asked;
    HANDLE done;
    size_t size;
    bool stalled; /* the latest write was not done in time */
    char text[WRITER_BYTES];
} writer;

static const char *windows_crash_text_of(DWORD code) {
    switch (code) {
    case EXCEPTION_ACCESS_VIOLATION:
        return "access violation (0xC0000005)";
    case EXCEPTION_STACK_OVERFLOW:
        return "stack overflow (0xC00000FD)";
    case EXCEPTION_ILLEGAL_INSTRUCTION:
        return "illegal instruction (0xC000001D)";
    case EXCEPTION_INT_DIVIDE_BY_ZERO:
        return "division by zero (0xC0000094)";
    case EXCEPTION_IN_PAGE_ERROR:
        return "in-page error (0xC0000006)";
    default:
        return code == EXCEPTION_OF_GCC || code == EXCEPTION_OF_MSVC
                   ? "an exception of C++ that nobody caught"
                   : "an exception that nobody handled";
    }
}

/* What differs between processors: where a context stands, and how it leaves a function that has no
 * unwind table: a leaf, or an address that is no function. */
#if defined(_M_ARM64) || defined(__aarch64__)
static DWORD64 program_counter(const CONTEXT *context) {
    return context->Pc;
}

static DWORD64 stack_pointer(const CONTEXT *context) {
    return context->Sp;
}

static bool leave_leaf(CONTEXT *context) {
    context->Pc = context->Lr;
    return true;
}
#else
/* Any readable address counts, of whichever stack. */
static bool is_on_stack(DWORD64 address) {
    MEMORY_BASIC_INFORMATION memory;
    return address % sizeof(DWORD64) == 0 &&
           VirtualQuery((const void *)(uintptr_t)address, &memory, sizeof(memory)) != 0 &&
           memory.State == MEM_COMMIT && memory.Protect == PAGE_READWRITE;
}

static DWORD64 program_counter(const CONTEXT *context) {
    return context->Rip;
}

static DWORD64 stack_pointer(const CONTEXT *context) {
    return context->Rsp;
}

static bool leave_leaf(CONTEXT *context) {
    if (!is_on_stack(context->Rsp)) {
        return false;
    }
    context->Rip = *(const DWORD64 *)(uintptr_t)context->Rsp; /* the return address is on top */
    context->Rsp += sizeof(DWORD64);
    return true;
}
#endif

/* Walks the stack from where it crashed, by the unwind tables of functions on x64 and on ARM64. */
static void windows_crash_trace(struct os_crash *crash, const CONTEXT *from) {
    CONTEXT context = *from;
    while ((program_counter(&context) != 0 || crash->frame_count == 0) &&
           crash->frame_count < OS_CRASH_FRAMES_MAX) {
        DWORD64 at = program_counter(&context);
        DWORD64 base = 0;
        DWORD64 established = 0;
        void *data = NULL;
        crash->frames[crash->frame_count++] = (void *)(uintptr_t)at;
        RUNTIME_FUNCTION *function = RtlLookupFunctionEntry(at, &base, NULL);
        if (function) {
            RtlVirtualUnwind(UNW_FLAG_NHANDLER, base, at, function, &context, &data, &established,
                             NULL);
        } else if (crash->frame_count > 1 || !leave_leaf(&context)) {
            break;
        }
    }
}

static DWORD64 ntdll;        /* its base address */
static DWORD walked_slot;    /* TLS: the exception whose stack the thread walks */
static struct os_crash told; /* of the thread that crashed first */
static DWORD telling;        /* the id of that thread */
static bool over;            /* the report is complete */

static void windows_crash_finish(void) {
    if (!over) {
        over = true;
        words.frames(&told);
    }
}

/* Walking the stack may crash and call this again: then only what is known so far is reported. */
static void windows_crash_begin(const struct os_crash *crash) {
    if (!atomic_flag_test_and_set(&crashing)) {
        telling = GetCurrentThreadId();
        told = *crash;
        words.first(&told);
        return;
    }
    if (telling != GetCurrentThreadId()) {
        Sleep(INFINITE); /* until the thread that crashed first ends the process */
    }
    windows_crash_finish();
    TerminateProcess(GetCurrentProcess(), CODE_OF_SECOND);
}

static void windows_crash_tell(const EXCEPTION_POINTERS *pointers) {
    const EXCEPTION_RECORD *record = pointers->ExceptionRecord;
    bool access = record->ExceptionCode == EXCEPTION_ACCESS_VIOLATION ||
                  record->ExceptionCode == EXCEPTION_IN_PAGE_ERROR;
    struct os_crash crash = {
        .what = windows_crash_text_of(record->ExceptionCode),
        .has_address = access && record->NumberParameters >= 2,
        .address = access ? (uintptr_t)record->ExceptionInformation[1] : 0,
        .code = record->ExceptionAddress,
    };
    windows_crash_begin(&crash);
    TlsSetValue(walked_slot, (void *)(uintptr_t)pointers);
    windows_crash_trace(&told, pointers->ContextRecord);
    windows_crash_finish();
    if (writer.stalled) { /* the system's report may write there, too, and would block */
        TerminateProcess(GetCurrentProcess(), record->ExceptionCode);
    }
}

static LONG WINAPI on_exception(EXCEPTION_POINTERS *pointers) {
    const EXCEPTION_RECORD *record = pointers->ExceptionRecord;
    if (record->ExceptionCode == EXCEPTION_OF_GCC &&
        (record->ExceptionFlags & EXCEPTION_NONCONTINUABLE) == 0) {
        return EXCEPTION_CONTINUE_EXECUTION; /* GCC searches for a handler; if there is none, it
                                                aborts */
    }
    windows_crash_tell(pointers);
    return EXCEPTION_CONTINUE_SEARCH; /* the system's own report and dump */
}

/* Whether the system's search for a handler, which walks in the same way, finds one: the first
 * frame of every thread is ntdll's, and has one. (Wine's is not in the tables.) */
static bool is_handler_found(const CONTEXT *from) {
    CONTEXT context = *from;
    ULONG_PTR low;
    ULONG_PTR high;
    DWORD64 at = 0;
    DWORD64 top = 0;
    GetCurrentThreadStackLimits(&low, &high);
    while ((at != program_counter(&context) || top != stack_pointer(&context)) &&
           stack_pointer(&context) >= low && stack_pointer(&context) < high) {
        DWORD64 base = 0;
        DWORD64 established = 0;
        void *data = NULL;
        at = program_counter(&context);
        top = stack_pointer(&context);
        RUNTIME_FUNCTION *function = RtlLookupFunctionEntry(at, &base, NULL);
        if (!function) {
            if (!leave_leaf(&context)) {
                return false;
            }
        } else if (RtlVirtualUnwind(UNW_FLAG_EHANDLER, base, at, function, &context, &data,
                                    &established, NULL) != NULL ||
                   (base == ntdll && program_counter(&context) == 0)) {
            return true;
        }
    }
    return false;
}

/* Exceptions that the processor raises; software may raise others for any handler. */
static bool is_fault(DWORD code) {
    return code == EXCEPTION_ACCESS_VIOLATION || code == EXCEPTION_ILLEGAL_INSTRUCTION ||
           code == EXCEPTION_PRIV_INSTRUCTION || code == EXCEPTION_IN_PAGE_ERROR ||
           code == EXCEPTION_INT_DIVIDE_BY_ZERO;
}

/* Where the stack is destroyed the walk may fault, as the system's search would, again and again.
 * The fault calls this handler again, which shows that the search finds no handler. */
static LONG WINAPI on_first_chance(EXCEPTION_POINTERS *pointers) {
    DWORD code = pointers->ExceptionRecord->ExceptionCode;
    DWORD error = GetLastError(); /* restored, as the exception may be handled */
    const EXCEPTION_POINTERS *walked = is_fault(code) ? TlsGetValue(walked_slot) : NULL;
    if (is_fault(code) && !walked) {
        TlsSetValue(walked_slot, pointers);
        walked = is_handler_found(pointers->ContextRecord) ? NULL : pointers;
        TlsSetValue(walked_slot, NULL);
    }
    if (walked) {
        windows_crash_tell(walked);
        TerminateProcess(GetCurrentProcess(), walked->ExceptionRecord->ExceptionCode);
    }
    SetLastError(error);
    return EXCEPTION_CONTINUE_SEARCH;
}

static void windows_crash_on_abort(int number) {
    struct os_crash crash = {
        .what = "abort (an exception of C++ may have left the plugin)",
    };
    (void)number;
    windows_crash_begin(&crash);
    told.frame_count = os_crash_stack(told.frames, OS_CRASH_FRAMES_MAX);
    windows_crash_finish();
}

/* A thread that hangs may hold the loader lock, which describing its stack takes, and which
 * starting a thread takes, too: so the thread that ends the process in time is started at the
 * beginning. */
static HANDLE words_begun;

static unsigned __stdcall end_in_time(void *argument) {
    (void)argument;
    WaitForSingleObject(words_begun, INFINITE);
    Sleep(CRASH_REPORT_MS);
    TerminateProcess(GetCurrentProcess(), CODE_OF_SECOND);
    return 0;
}

_Noreturn void os_crash_hung(uintptr_t thread, const char *what) {
    struct os_crash crash = {.what = what, .elsewhere = true};
    CONTEXT context = {.ContextFlags = CONTEXT_FULL};
    HANDLE handle = OpenThread(THREAD_SUSPEND_RESUME | THREAD_GET_CONTEXT, FALSE, (DWORD)thread);
    bool known = false;
    SetEvent(words_begun);
    if (handle && SuspendThread(handle) != (DWORD)-1) {
        known = GetThreadContext(handle, &context) != 0;
        ResumeThread(handle); /* it may hold locks that the report needs; and it hangs */
    }
    windows_crash_begin(&crash);
    if (known) {
        windows_crash_trace(&told, &context);
    }
    windows_crash_finish();
    TerminateProcess(GetCurrentProcess(), CODE_OF_SECOND);
    for (;;) {
        Sleep(INFINITE);
    }
}

unsigned os_crash_stack(void **frames, unsigned max) {
    return CaptureStackBackTrace(1, max, frames, NULL);
}

void *os_crash_thread_begin(void) {
    ULONG bytes = STACK_BYTES;
    SetThreadStackGuarantee(&bytes); /* without it a stack overflow is not reported */
    return NULL;
}

void os_crash_thread_end(void *prepared) {
    (void)prepared; /* the system frees it with the thread */
}

static DWORD WINAPI write_what_is_asked(void *argument) {
    (void)argument;
    while (WaitForSingleObject(writer.asked, INFINITE) == WAIT_OBJECT_0) {
        DWORD written;
        WriteFile(GetStdHandle(STD_ERROR_HANDLE), writer.text, (DWORD)writer.size, &written, NULL);
        SetEvent(writer.done);
    }
    return 0;
}

static void start_writer(void) {
    HANDLE asked = writer.asked ? NULL : CreateEventW(NULL, FALSE, FALSE, NULL);
    writer.done = writer.done ? writer.done : CreateEventW(NULL, FALSE, FALSE, NULL);
    if (asked && writer.done) {
        writer.asked = asked;
        HANDLE thread = CreateThread(NULL, 0, write_what_is_asked, NULL, 0, NULL);
        if (thread) {
            CloseHandle(thread);
        }
    }
}

static LPTOP_LEVEL_EXCEPTION_FILTER filter; /* the process's own; NULL: none yet */

void windows_filter_set(LONG(WINAPI *function)(EXCEPTION_POINTERS *pointers)) {
    filter = function;
    SetUnhandledExceptionFilter(filter);
}

void os_crash_start(const struct os_crash_words *last_words) {
    static void *vectored;
    words = *last_words;
    os_crash_thread_begin();
    start_writer();
    if (!words_begun && (words_begun = CreateEventW(NULL, TRUE, FALSE, NULL)) != NULL) {
        uintptr_t ender = _beginthreadex(NULL, 0, end_in_time, NULL, 0, NULL);
        if (ender != 0) {
            CloseHandle((HANDLE)ender); /* the thread runs until the process ends */
        }
    }
    ntdll = (DWORD64)(uintptr_t)GetModuleHandleW(L"ntdll.dll");
    if (!vectored && (walked_slot = TlsAlloc()) != TLS_OUT_OF_INDEXES) {
        vectored = AddVectoredExceptionHandler(FALSE, on_first_chance); /* after those of others */
    }
    windows_filter_set(on_exception);
    signal(SIGABRT, windows_crash_on_abort);
}

void os_crash_start_again(void) {
    if (filter) {
        SetUnhandledExceptionFilter(filter);
    }
}

/* The library that contains a code address, and its file's name. */
static HMODULE library_of(const void *frame, char *name, size_t size) {
    HMODULE module = NULL;
    wchar_t wide[WINDOWS_PATH_MAX];
    char file[OS_PATH_MAX];
    if (!GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS |
                                GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT,
                            (const wchar_t *)frame, &module) ||
        GetModuleFileNameW(module, wide, WINDOWS_PATH_MAX) == 0 ||
        !windows_text(wide, file, sizeof(file))) {
        return NULL;
    }
    const char *slash = strrchr(file, '\\');
    snprintf(name, size, "%s", slash ? slash + 1 : file);
    return module;
}

void os_crash_file(const void *frame, char *text, size_t size) {
    if (!library_of(frame, text, size)) {
        snprintf(text, size, "%s", "");
    }
}

void os_crash_describe(const void *frame, char *text, size_t size) {
    char name[MAX_PATH];
    HMODULE module = library_of(frame, name, sizeof(name));
    if (!module) {
        snprintf(text, size, "%p", frame);
        return;
    }
    snprintf(text, size, "%s [+0x%zx]", name, (size_t)((const char *)frame - (const char *)module));
}

void os_crash_write(const char *text, size_t size) {
    static ULONGLONG end_ms;
    ULONGLONG now_ms = GetTickCount64();
    end_ms = end_ms == 0 ? now_ms + OS_CRASH_WRITE_MS : end_ms;
    if (now_ms >= end_ms) {
        return; /* the writer may still use the previous text */
    }
    writer.size = size < sizeof(writer.text) ? size : sizeof(writer.text);
    memcpy(writer.text, text, writer.size);
    SetEvent(writer.asked);
    if (!writer.asked ||
        WaitForSingleObject(writer.done, (DWORD)(end_ms - now_ms)) != WAIT_OBJECT_0) {
        end_ms = 1; /* no more is written: the stream accepts nothing */
        writer.stalled = true;
    }
}
