/* os_windows_crash.c: exceptions that nobody handles, and abort().
 *
 * The filter of unhandled exceptions runs last of all, so what a plugin handles itself is never
 * taken for a crash. It runs from the first frame of the thread, which the search for a handler
 * does not reach when the stack is destroyed; a vectored handler, asked first of all, finds that
 * out. */
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
    STACK_BYTES = 64 * 1024, /* what an overflow of the stack leaves for last words */
    EXCEPTION_OF_GCC = 0x20474343,
    CODE_OF_SECOND = 3, /* as abort() has it */
    WRITER_BYTES = 4096,
    CRASH_REPORT_MS = 5000,
};
static const DWORD EXCEPTION_OF_MSVC = 0xE06D7363;

static struct os_crash_words words;
static atomic_flag crashing = ATOMIC_FLAG_INIT;

/* A write to a pipe or a console that takes nothing at present cannot be called off, so another
 * thread has to make it; it is there before anything crashes. */
static struct {
    HANDLE asked;
    HANDLE done;
    size_t size;
    bool stalled; /* what was asked for last was not written in time */
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
/* Whose stack it is does not matter: it can be read. */
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
    context->Rip = *(const DWORD64 *)(uintptr_t)context->Rsp; /* the return address lies on top */
    context->Rsp += sizeof(DWORD64);
    return true;
}
#endif

/* Walks the stack from where it crashed, by the tables that functions have on x64 and on ARM64. */
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

static DWORD64 ntdll;        /* where it is */
static DWORD walked_slot;    /* of a thread: the exception whose stack it walks */
static struct os_crash told; /* of the thread that crashed first */
static DWORD telling;        /* which that is */
static bool over;            /* there is nothing more to say */

static void windows_crash_finish(void) {
    if (!over) {
        over = true;
        words.frames(&told);
    }
}

/* Walking the stack may crash in its turn, and comes here again: what is known by then is all. */
static void windows_crash_begin(const struct os_crash *crash) {
    if (!atomic_flag_test_and_set(&crashing)) {
        telling = GetCurrentThreadId();
        told = *crash;
        words.first(&told);
        return;
    }
    if (telling != GetCurrentThreadId()) {
        Sleep(INFINITE); /* another thread was first; its end is ours */
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
    if (writer.stalled) { /* the system's report could go there, too, and would not end */
        TerminateProcess(GetCurrentProcess(), record->ExceptionCode);
    }
}

static LONG WINAPI on_exception(EXCEPTION_POINTERS *pointers) {
    const EXCEPTION_RECORD *record = pointers->ExceptionRecord;
    if (record->ExceptionCode == EXCEPTION_OF_GCC &&
        (record->ExceptionFlags & EXCEPTION_NONCONTINUABLE) == 0) {
        return EXCEPTION_CONTINUE_EXECUTION; /* GCC asks whether anybody catches; then it aborts */
    }
    windows_crash_tell(pointers);
    return EXCEPTION_CONTINUE_SEARCH; /* the system's own report and dump */
}

/* Whether the system's search for a handler, which goes the same way, finds one: every thread has
 * one in its first frame, which is ntdll's. (Wine's is not in the tables.) */
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

/* What the processor reports; what software raises may be meant for anybody. */
static bool is_fault(DWORD code) {
    return code == EXCEPTION_ACCESS_VIOLATION || code == EXCEPTION_ILLEGAL_INSTRUCTION ||
           code == EXCEPTION_PRIV_INSTRUCTION || code == EXCEPTION_IN_PAGE_ERROR ||
           code == EXCEPTION_INT_DIVIDE_BY_ZERO;
}

/* The walk may fault where the stack is destroyed, as the system's search would, again and again:
 * that comes here, too, and is the answer. */
static LONG WINAPI on_first_chance(EXCEPTION_POINTERS *pointers) {
    DWORD code = pointers->ExceptionRecord->ExceptionCode;
    DWORD error = GetLastError(); /* which must be the same if the exception is handled */
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

/* A thread that hangs may hold the loader's lock, which describing its stack takes, and which
 * starting a thread takes, too: so this one is there from the beginning. */
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
        ResumeThread(handle); /* it may hold locks that are needed now; and it hangs */
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
    SetThreadStackGuarantee(&bytes); /* without it an overflow goes without last words */
    return NULL;
}

void os_crash_thread_end(void *prepared) {
    (void)prepared; /* it goes with the thread */
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
            CloseHandle((HANDLE)ender); /* it ends with the process */
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

/* The library that an address of code is in, and its file's name. */
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
        return; /* the writer may hold the text before */
    }
    writer.size = size < sizeof(writer.text) ? size : sizeof(writer.text);
    memcpy(writer.text, text, writer.size);
    SetEvent(writer.asked);
    if (!writer.asked ||
        WaitForSingleObject(writer.done, (DWORD)(end_ms - now_ms)) != WAIT_OBJECT_0) {
        end_ms = 1; /* there is nobody left to tell */
        writer.stalled = true;
    }
}
