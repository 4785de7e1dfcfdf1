/* os_windows_child.c: this program started again as a child, and the pipe between the two.
 *
 * The memory that both share is a section without a name, whose handle the child inherits.
 *
 * The link is a named pipe of messages, for this user alone. A listening socket is sent over it as
 * the WSAPROTOCOL_INFO that WSADuplicateSocket() writes for the other process. Both ends always
 * have a pending read, as only that can be waited for together with the child's end. Both keep
 * their memory for as long as the system may use it: see os_windows_operation.h.
 *
 * A socket that was bound to the completion port of a process that has ended cannot be bound to
 * another one (but by FileReplaceCompletionInformation, which is undocumented for sockets): the
 * engine takes its clients by plain accepts. */
#include <winsock2.h>

#include <windows.h>

#include <sddl.h>

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/macros.h"
#include "os/os_child.h"
#include "os/os_windows.h"
#include "os/os_windows_operation.h"

enum {
    MESSAGE_BYTES_MAX = 4096,
    WRITE_MS = 10000,
    LAST_MS = 100,
    CONNECT_MS = 30000,
    CODE_OF_MANIFEST = 78,
    CODES_OF_VERBS = 3,
    SEVERITY_SHIFT = 28,
    SYSTEM_ERROR = 0xC,
    CUSTOM_ERROR = 0xE,
    NAME_TRIES = 8,
    HANDLE_MARK = L'@', /* no name of these pipes contains it */
};

static const DWORD CODE_OF_CONSOLE = 0xC000013A; /* Ctrl-C, or the console was closed */

struct packet {
    uint32_t size;
    uint32_t has_socket;
    WSAPROTOCOL_INFOW socket;
    uint8_t bytes[MESSAGE_BYTES_MAX];
};

struct os_link {
    HANDLE pipe;
    struct windows_operation *read; /* of a packet; NULL: it was abandoned */
    struct windows_operation *write;
    struct windows_operation *volatile last; /* the crash report's: it waits for no other */
    SRWLOCK writing;
    bool reading;
    bool closed; /* no more messages come */
    DWORD peer;  /* the other process */
    HANDLE asked;
    HANDLE asked_wait; /* the child's: waits for requests to stop */
    HANDLE shared;     /* the child's: the section, until it is mapped */
    HANDLE parent;
    HANDLE parent_wait;
};

struct os_child {
    HANDLE process;
    HANDLE asked;  /* an event that asks it to stop */
    HANDLE shared; /* the section of the shared memory, or NULL */
    struct os_link link;
};

/* -- the link -------------------------------------------------------------- */

static const char LINK[] = "the link between the host and its supervisor";

static void read_next(struct os_link *link) {
    link->reading = link->read && windows_operation_begun(
                                      ReadFile(link->pipe, link->read->bytes, sizeof(struct packet),
                                               NULL, windows_operation_prepare(link->read)));
    link->closed = !link->reading;
}

static bool link_init(struct os_link *link, HANDLE pipe, DWORD peer) {
    link->pipe = pipe;
    link->peer = peer;
    InitializeSRWLock(&link->writing);
    link->read = windows_operation_create(sizeof(struct packet));
    link->write = windows_operation_create(sizeof(struct packet));
    link->last = windows_operation_create(sizeof(struct packet));
    return link->read && link->write && link->last;
}

static void link_fini(struct os_link *link) {
    if (link->pipe && link->pipe != INVALID_HANDLE_VALUE) {
        DWORD ignored;
        if (link->reading) {
            windows_operation_end(&link->read, link->pipe, NULL, 0, &ignored, LINK);
        }
        CloseHandle(link->pipe);
    }
    windows_operation_destroy(link->read);
    windows_operation_destroy(link->write);
    windows_operation_destroy(link->last);
}

static DWORD packet_size(const struct packet *packet) {
    return (DWORD)(offsetof(struct packet, bytes) + packet->size);
}

static bool begin_write(struct os_link *link, struct windows_operation *operation,
                        const struct packet *packet) {
    memcpy(operation->bytes, packet, packet_size(packet));
    return windows_operation_begun(WriteFile(link->pipe, operation->bytes, packet_size(packet),
                                             NULL, windows_operation_prepare(operation)));
}

static bool write_packet(struct os_link *link, const struct packet *packet) {
    DWORD done = 0;
    AcquireSRWLockExclusive(&link->writing);
    bool written = link->write && begin_write(link, link->write, packet) &&
                   windows_operation_end(&link->write, link->pipe, NULL, WRITE_MS, &done, LINK) &&
                   done == packet_size(packet);
    ReleaseSRWLockExclusive(&link->writing);
    return written;
}

bool os_link_send(struct os_link *link, const void *bytes, size_t size, intptr_t socket) {
    struct packet packet = {.size = (uint32_t)size};
    if (size > MESSAGE_BYTES_MAX) {
        return false;
    }
    memcpy(packet.bytes, bytes, size);
    if (socket != OS_NO_SOCKET) {
        packet.has_socket = 1;
        if (WSADuplicateSocketW((SOCKET)socket, link->peer, &packet.socket) != 0) {
            return false;
        }
    }
    return write_packet(link, &packet);
}

/* Waits a short time only, as the parent may not read. A write that has not ended then ends with
 * the process, and its memory is not used again. */
void os_link_last_send(struct os_link *link, const void *bytes, size_t size) {
    struct packet packet = {.size = (uint32_t)size};
    struct windows_operation *last =
        InterlockedExchangePointer((void *volatile *)&link->last, NULL);
    if (!last || size > MESSAGE_BYTES_MAX) {
        return;
    }
    memcpy(packet.bytes, bytes, size);
    if (!begin_write(link, last, &packet) ||
        WaitForSingleObject(last->overlapped.hEvent, LAST_MS) == WAIT_OBJECT_0) {
        InterlockedExchangePointer((void *volatile *)&link->last, last);
    }
}

bool os_link_receive(struct os_link *link, void *bytes, size_t size, intptr_t *socket,
                     int timeout_ms) {
    DWORD got = 0;
    *socket = OS_NO_SOCKET;
    if (!link->reading ||
        WaitForSingleObject(link->read->overlapped.hEvent,
                            timeout_ms < 0 ? INFINITE : (DWORD)timeout_ms) != WAIT_OBJECT_0) {
        return false;
    }
    link->reading = false;
    struct packet *packet = (struct packet *)link->read->bytes;
    bool whole = GetOverlappedResult(link->pipe, &link->read->overlapped, &got, FALSE) &&
                 got == offsetof(struct packet, bytes) + size && packet->size == size;
    link->closed = got == 0;
    if (whole) {
        memcpy(bytes, packet->bytes, size);
        if (packet->has_socket) {
            SOCKET taken =
                WSASocketW(FROM_PROTOCOL_INFO, FROM_PROTOCOL_INFO, FROM_PROTOCOL_INFO,
                           &packet->socket, 0, WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
            *socket = taken == INVALID_SOCKET ? OS_NO_SOCKET : (intptr_t)taken;
        }
    }
    if (!link->closed) {
        read_next(link);
    }
    return whole;
}

void os_child_socket_close(intptr_t socket) {
    if (socket != OS_NO_SOCKET) {
        closesocket((SOCKET)socket);
    }
}

/* -- the child's end ------------------------------------------------------- */

static void CALLBACK ask_to_stop(void *argument, BOOLEAN timed_out) {
    (void)argument;
    (void)timed_out;
    windows_signals_ask();
}

/* The event by which the parent requests a stop has no name that others could take or open, nor has
 * the section: they are inherited, and their values follow the pipe's name. The child makes them
 * not inheritable. Takes the last value off the text. */
static HANDLE take_handle(wchar_t *text) {
    wchar_t *mark = wcsrchr(text, HANDLE_MARK);
    if (!mark) {
        return NULL;
    }
    *mark = L'\0';
    HANDLE handle = (HANDLE)(uintptr_t)wcstoull(mark + 1, NULL, 16);
    return handle && SetHandleInformation(handle, HANDLE_FLAG_INHERIT, 0) ? handle : NULL;
}

/* The host stops in good order when the parent requests it or has ended. */
static bool watch_parent(struct os_link *link) {
    ULONG parent = 0;
    if (!GetNamedPipeServerProcessId(link->pipe, &parent)) {
        return false;
    }
    link->peer = parent;
    link->parent = OpenProcess(SYNCHRONIZE, FALSE, parent);
    return link->asked && link->parent &&
           RegisterWaitForSingleObject(&link->asked_wait, link->asked, ask_to_stop, NULL, INFINITE,
                                       WT_EXECUTEDEFAULT) &&
           RegisterWaitForSingleObject(&link->parent_wait, link->parent, ask_to_stop, NULL,
                                       INFINITE, WT_EXECUTEONLYONCE);
}

struct os_link *os_link_open(const char *text, struct error *error) {
    WSADATA data;
    wchar_t path[128];
    DWORD mode = PIPE_READMODE_MESSAGE;
    struct os_link *link = alloc_zeroed(sizeof(*link));
    if (!link) {
        error_set(error, "out of memory");
        return NULL;
    }
    WSAStartup(MAKEWORD(2, 2), &data); /* sockets may arrive before the engine starts */
    HANDLE pipe = INVALID_HANDLE_VALUE;
    if (MultiByteToWideChar(CP_UTF8, 0, text, -1, path, ARRAY_COUNT(path)) > 0) {
        link->shared = take_handle(path);
        link->asked = take_handle(path);
        pipe = CreateFileW(path, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING,
                           FILE_FLAG_OVERLAPPED, NULL);
    }
    if (pipe == INVALID_HANDLE_VALUE || !link_init(link, pipe, 0) ||
        !SetNamedPipeHandleState(pipe, &mode, NULL, NULL) || !watch_parent(link)) {
        windows_error_set(error, GetLastError());
        error_prefix(error, "the parent's link: ");
        os_link_close(link);
        return NULL;
    }
    windows_signals_by_parent();
    read_next(link);
    return link;
}

void *os_link_shared(struct os_link *link, size_t size) {
    void *memory = NULL;
    if (link->shared) {
        memory = MapViewOfFile(link->shared, FILE_MAP_READ | FILE_MAP_WRITE, 0, 0, size);
        CloseHandle(link->shared);
        link->shared = NULL;
    }
    return memory;
}

void os_link_close(struct os_link *link) {
    if (!link) {
        return;
    }
    if (link->shared) {
        CloseHandle(link->shared);
    }
    if (link->asked_wait) {
        UnregisterWaitEx(link->asked_wait, INVALID_HANDLE_VALUE);
    }
    if (link->parent_wait) {
        UnregisterWaitEx(link->parent_wait, INVALID_HANDLE_VALUE);
    }
    if (link->asked) {
        CloseHandle(link->asked);
    }
    if (link->parent) {
        CloseHandle(link->parent);
    }
    link_fini(link);
    alloc_free(link);
}

/* -- the parent's end ------------------------------------------------------ */

bool os_child_init(struct error *error) {
    WSADATA data;
    int code = WSAStartup(MAKEWORD(2, 2), &data);
    return code == 0 ? os_signals_start(error) : windows_error_set(error, (DWORD)code);
}

/* `"program" word "word with blanks" … path`, quoted by the rules of Microsoft's C run-time. */
static bool make_command(wchar_t *command, size_t capacity, const char *const *arguments,
                         const wchar_t *path) {
    wchar_t wide[2048];
    size_t used = 0;
    DWORD length = GetModuleFileNameW(NULL, wide, ARRAY_COUNT(wide));
    if (length == 0 || length == ARRAY_COUNT(wide)) {
        return false;
    }
    int written = _snwprintf(command, capacity, L"\"%ls\"", wide);
    for (size_t i = 0; written > 0 && arguments[i]; i++) {
        used += (size_t)written;
        if (MultiByteToWideChar(CP_UTF8, 0, arguments[i], -1, wide, ARRAY_COUNT(wide)) == 0 ||
            wcschr(wide, L'"')) {
            return false; /* a path contains no quote */
        }
        size_t size = wcslen(wide);
        const wchar_t *more = size > 0 && wide[size - 1] == L'\\' ? L"\\" : L"";
        written = _snwprintf(command + used, capacity - used, L" \"%ls%ls\"", wide, more);
    }
    used += written > 0 ? (size_t)written : 0;
    return written > 0 &&
           _snwprintf(command + used, capacity - used, L" %ls", path) > 0; /* terminated, or full */
}

static bool connect_pipe(struct os_child *child, struct error *error) {
    struct os_link *link = &child->link;
    DWORD ignored;
    if (ConnectNamedPipe(link->pipe, windows_operation_prepare(link->read)) ||
        GetLastError() == ERROR_PIPE_CONNECTED) {
        return true;
    }
    if (GetLastError() != ERROR_IO_PENDING) {
        return windows_error_set(error, GetLastError());
    }
    return windows_operation_end(&link->read, link->pipe, child->process, CONNECT_MS, &ignored,
                                 LINK) ||
           error_set(error, "the host does not take its link");
}

static bool start_process(struct os_child *child, const char *const *arguments, const wchar_t *path,
                          struct error *error) {
    static wchar_t command[16384]; /* used by the one thread that starts hosts */
    const struct windows_standard standard = {
        .input = GetStdHandle(STD_INPUT_HANDLE),
        .output = GetStdHandle(STD_OUTPUT_HANDLE),
        .error = GetStdHandle(STD_ERROR_HANDLE),
        .more = {child->asked, child->shared},
    };
    struct windows_process process;
    if (!make_command(command, ARRAY_COUNT(command) - 1, arguments, path)) {
        return error_set(error, "the command line is too long");
    }
    /* Ctrl-C reaches the parent alone, which passes it on. */
    if (!windows_process_start(NULL, command, CREATE_NEW_PROCESS_GROUP, &standard, &process)) {
        return windows_error_set(error, GetLastError());
    }
    child->process = process.handle;
    child->link.peer = process.id;
    return true;
}

/* A process that can guess the name could take it, so it is hard to guess. The pipe must be the
 * first of its name. */
static HANDLE create_link_pipe(wchar_t *path, size_t capacity, SECURITY_ATTRIBUTES *security) {
    HANDLE pipe = INVALID_HANDLE_VALUE;
    for (int tries = 0; pipe == INVALID_HANDLE_VALUE && tries < NAME_TRIES; tries++) {
        LARGE_INTEGER moment;
        QueryPerformanceCounter(&moment);
        _snwprintf(path, capacity, L"\\\\.\\pipe\\berth-link-%lu-%llx", GetCurrentProcessId(),
                   (unsigned long long)moment.QuadPart);
        pipe = CreateNamedPipeW(
            path, PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE,
            PIPE_TYPE_MESSAGE | PIPE_READMODE_MESSAGE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS, 1,
            65536, 65536, 0, security);
    }
    return pipe;
}

static bool add_handle(wchar_t *path, size_t capacity, HANDLE handle) {
    size_t used = wcslen(path);
    return _snwprintf(path + used, capacity - used, L"%lc%llx", HANDLE_MARK,
                      (unsigned long long)(uintptr_t)handle) > 0;
}

struct os_child *os_child_start(const char *const *arguments, size_t shared_bytes,
                                struct error *error) {
    wchar_t path[128];
    struct os_child *child = alloc_zeroed(sizeof(*child));
    if (!child) {
        error_set(error, "out of memory");
        return NULL;
    }
    SECURITY_ATTRIBUTES security = {.nLength = sizeof(security)};
    if (!ConvertStringSecurityDescriptorToSecurityDescriptorW(
            WINDOWS_PRIVATE, SDDL_REVISION_1, &security.lpSecurityDescriptor, NULL)) {
        windows_error_set(error, GetLastError());
        alloc_free(child);
        return NULL;
    }
    HANDLE pipe = create_link_pipe(path, ARRAY_COUNT(path), &security);
    if (pipe == INVALID_HANDLE_VALUE) {
        windows_error_set(error, GetLastError());
        error_prefix(error, "the pipe %ls: somebody may have taken its name: ", path);
        LocalFree(security.lpSecurityDescriptor);
        alloc_free(child);
        return NULL;
    }
    security.bInheritHandle = TRUE;
    child->shared = CreateFileMappingW(INVALID_HANDLE_VALUE, &security, PAGE_READWRITE, 0,
                                       (DWORD)shared_bytes, NULL);
    child->asked = CreateEventW(&security, FALSE, FALSE, NULL); /* auto-reset: once a request */
    DWORD code = GetLastError();
    LocalFree(security.lpSecurityDescriptor);
    SetLastError(code);
    if (!link_init(&child->link, pipe, 0) || !child->asked) {
        windows_error_set(error, GetLastError());
    } else if (add_handle(path, ARRAY_COUNT(path), child->asked) &&
               add_handle(path, ARRAY_COUNT(path), child->shared) &&
               start_process(child, arguments, path, error)) {
        SetHandleInformation(child->asked, HANDLE_FLAG_INHERIT, 0); /* no other child inherits it */
        SetHandleInformation(child->shared, HANDLE_FLAG_INHERIT, 0);
        if (connect_pipe(child, error)) {
            read_next(&child->link);
            return child;
        }
        TerminateProcess(child->process, 1);
    }
    os_child_destroy(child);
    return NULL;
}

enum os_child_event os_child_wait(struct os_child *child, int timeout_ms) {
    HANDLE waits[3] = {windows_signals_event()};
    DWORD count = 1;
    bool listening = child && child->link.reading;
    if (listening) {
        waits[count++] = child->link.read->overlapped.hEvent;
    }
    if (child) {
        waits[count++] = child->process;
    }
    DWORD limit = timeout_ms < 0 ? INFINITE : (DWORD)timeout_ms;
    /* A request ends one wait, and that wait may have returned a message of the child instead. */
    WaitForMultipleObjects(count, waits, FALSE, windows_signals_asked() ? 0 : limit);
    /* Messages sent before its end are reported first. */
    if (listening && WaitForSingleObject(child->link.read->overlapped.hEvent, 0) == WAIT_OBJECT_0) {
        return OS_CHILD_SAYS;
    }
    if (child && WaitForSingleObject(child->process, 0) == WAIT_OBJECT_0) {
        return OS_CHILD_ENDED;
    }
    return os_signals_wait(0) == OS_SIGNAL_STOP ? OS_CHILD_STOP : OS_CHILD_NOTHING;
}

struct os_link *os_child_link(struct os_child *child) {
    return &child->link;
}

/* Exit codes of the system's errors, and of exceptions of languages: C++ 0xE06D7363, .NET
 * 0xE0434352. A program that ends another one may set any code: -1 is usual. */
static bool is_exception(DWORD code) {
    return (code >> SEVERITY_SHIFT == SYSTEM_ERROR || code >> SEVERITY_SHIFT == CUSTOM_ERROR) &&
           code != CODE_OF_CONSOLE;
}

struct os_child_end os_child_end(const struct os_child *child) {
    DWORD code = 1;
    GetExitCodeProcess(child->process, &code);
    struct os_child_end end = {.code = (int)code};
    end.crashed = code >= CODES_OF_VERBS && code != CODE_OF_MANIFEST;
    end.by = is_exception(code) ? OS_END_BY_ITSELF : OS_END_BY_ANY;
    snprintf(end.text, sizeof(end.text), code > 0xffff ? "exception 0x%08lx" : "exit code %lu",
             (unsigned long)code);
    return end;
}

bool os_child_shared_copy(const struct os_child *child, void *copy, size_t size) {
    const void *memory =
        child->shared ? MapViewOfFile(child->shared, FILE_MAP_READ, 0, 0, size) : NULL;
    if (memory) {
        memcpy(copy, memory, size);
        UnmapViewOfFile(memory);
    }
    return memory != NULL;
}

void os_child_ask(struct os_child *child, enum os_signal signal) {
    if (signal == OS_SIGNAL_STOP) {
        SetEvent(child->asked);
    }
}

void os_child_kill(struct os_child *child) {
    TerminateProcess(child->process, ERROR_PROCESS_ABORTED);
}

void os_child_destroy(struct os_child *child) {
    link_fini(&child->link);
    if (child->asked) {
        CloseHandle(child->asked);
    }
    if (child->shared) {
        CloseHandle(child->shared);
    }
    if (child->process) {
        CloseHandle(child->process);
    }
    alloc_free(child);
}
