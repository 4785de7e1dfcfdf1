/* os_windows_channel.c: the channel to a running host: a named pipe for its owner and
 * Administrators.
 *
 * There is always a pipe instance that waits for a client, as the name exists only while it has
 * one. All operations are overlapped, so that a wait can be interrupted and has a time-out. */
#include <windows.h>

#include <sddl.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/macros.h"
#include "os/os.h"
#include "os/os_windows.h"
#include "os/os_windows_operation.h"

enum { PIPE_BYTES = 65536, CONNECT_WAIT_MS = 5000, LEAVE_WAIT_MS = 2000 };

struct os_channel {
    wchar_t path[256];
    SECURITY_ATTRIBUTES security;
    HANDLE next;        /* the instance for the next client; the first one proves that the name is
                           ours */
    HANDLE interrupted; /* a manual-reset event */
};

struct os_pipe {
    HANDLE handle;
    struct windows_operation *operation; /* one at a time; NULL: the last one was abandoned */
    HANDLE interrupted;                  /* manual-reset events: this one ends reads, */
    HANDLE cut;                          /* and this one writes */
    bool served;                         /* the host's end */
};

static bool make_path(wchar_t *path, size_t capacity, const char *name, struct error *error) {
    wchar_t wide[128];
    if (MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, name, -1, wide, ARRAY_COUNT(wide)) ==
            0 ||
        _snwprintf(path, capacity, L"\\\\.\\pipe\\berth-%ls", wide) < 0) {
        return error_set(error, "\"%s\" cannot be a pipe's name", name);
    }
    path[capacity - 1] = L'\0';
    return true;
}

static void destroy_pipe(struct os_pipe *pipe) {
    if (pipe->handle != INVALID_HANDLE_VALUE) {
        CloseHandle(pipe->handle);
    }
    windows_operation_destroy(pipe->operation);
    if (pipe->interrupted) {
        CloseHandle(pipe->interrupted);
    }
    if (pipe->cut) {
        CloseHandle(pipe->cut);
    }
    alloc_free(pipe);
}

static struct os_pipe *windows_channel_make_pipe(HANDLE handle, bool served) {
    struct os_pipe *pipe = alloc_zeroed(sizeof(*pipe));
    if (!pipe) {
        CloseHandle(handle);
        return NULL;
    }
    pipe->handle = handle;
    pipe->served = served;
    pipe->operation = windows_operation_create(PIPE_BYTES);
    pipe->interrupted = CreateEventW(NULL, TRUE, FALSE, NULL);
    pipe->cut = CreateEventW(NULL, TRUE, FALSE, NULL);
    if (!pipe->operation || !pipe->interrupted || !pipe->cut) {
        destroy_pipe(pipe);
        return NULL;
    }
    return pipe;
}

/* Waits for the end of the operation; if it has not ended by then, it is cancelled. */
static bool windows_channel_await(struct os_pipe *pipe, HANDLE interrupted, int timeout_ms,
                                  DWORD *count) {
    return windows_operation_end(&pipe->operation, pipe->handle, interrupted,
                                 timeout_ms < 0 ? INFINITE : (DWORD)timeout_ms, count,
                                 "the control channel");
}

/* -- trust ----------------------------------------------------------------- */

/* Services of the system, and those that have an account of their own (NT SERVICE\NAME). */
static bool is_system_account(PSID user) {
    static const WELL_KNOWN_SID_TYPE known[] = {WinLocalSystemSid, WinLocalServiceSid,
                                                WinNetworkServiceSid};
    for (size_t i = 0; i < ARRAY_COUNT(known); i++) {
        if (IsWellKnownSid(user, known[i])) {
            return true;
        }
    }
    return *GetSidSubAuthorityCount(user) > 1 &&
           *GetSidSubAuthority(user, 0) == SECURITY_SERVICE_ID_BASE_RID;
}

union token_user {
    TOKEN_USER user;
    uint8_t room[sizeof(TOKEN_USER) + SECURITY_MAX_SID_SIZE];
};

static bool read_user(HANDLE process, union token_user *user) {
    HANDLE token;
    DWORD size;
    if (!OpenProcessToken(process, TOKEN_QUERY, &token)) {
        return false;
    }
    bool read = GetTokenInformation(token, TokenUser, user, sizeof(*user), &size) != 0;
    CloseHandle(token);
    return read;
}

/* Any user may take a pipe's name that is free: the server must be a process of this user, or a
 * service. Only Administrators can inspect the process of another user. */
static bool check_server(HANDLE pipe, const char *name, struct error *error) {
    union token_user own;
    union token_user other;
    ULONG id = 0;
    HANDLE process = GetNamedPipeServerProcessId(pipe, &id)
                         ? OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, FALSE, id)
                         : NULL;
    bool known = process && read_user(process, &other) && read_user(GetCurrentProcess(), &own);
    if (process) {
        CloseHandle(process);
    }
    if (known && (EqualSid(own.user.User.Sid, other.user.User.Sid) ||
                  is_system_account(other.user.User.Sid))) {
        return true;
    }
    return error_set_kind(
        error, ERROR_KIND_DENIED,
        "\\\\.\\pipe\\berth-%s is not trusted: it is served by process %lu, which "
        "is another user's",
        name, (unsigned long)id);
}

static HANDLE open_pipe(const wchar_t *path) {
    /* The server of the pipe may not impersonate this process. */
    return CreateFileW(path, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING,
                       FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION,
                       NULL);
}

/* The name is taken by a host of this user, or by another user, so that no host can start. */
static void set_taken(const wchar_t *path, const char *name, struct error *error) {
    struct error why = {0};
    HANDLE pipe = open_pipe(path);
    DWORD code = GetLastError();
    if (pipe == INVALID_HANDLE_VALUE && code == ERROR_ACCESS_DENIED) {
        error_set_kind(error, ERROR_KIND_TAKEN,
                       "a program of another user, or one that runs as administrator, has the "
                       "name \\\\.\\pipe\\berth-%s",
                       name);
    } else if (pipe != INVALID_HANDLE_VALUE && !check_server(pipe, name, &why)) {
        error_set_kind(error, ERROR_KIND_TAKEN, "%s", why.message);
    } else {
        error_set_kind(error, ERROR_KIND_TAKEN,
                       "another host of this name is running (\\\\.\\pipe\\berth-%s)", name);
    }
    if (pipe != INVALID_HANDLE_VALUE) {
        CloseHandle(pipe);
    }
}

/* -- the host's end -------------------------------------------------------- */

static HANDLE make_instance(struct os_channel *channel, bool first) {
    return CreateNamedPipeW(
        channel->path,
        PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | (first ? FILE_FLAG_FIRST_PIPE_INSTANCE : 0),
        PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
        PIPE_UNLIMITED_INSTANCES, PIPE_BYTES, PIPE_BYTES, 0, &channel->security);
}

struct os_channel *os_channel_open(const char *name, struct error *error) {
    struct os_channel *channel = alloc_zeroed(sizeof(*channel));
    if (!channel) {
        error_set(error, "out of memory");
        return NULL;
    }
    channel->next = INVALID_HANDLE_VALUE;
    channel->security.nLength = sizeof(channel->security);
    channel->interrupted = CreateEventW(NULL, TRUE, FALSE, NULL);
    if (!make_path(channel->path, ARRAY_COUNT(channel->path), name, error)) {
        goto fail;
    }
    if (!channel->interrupted ||
        !ConvertStringSecurityDescriptorToSecurityDescriptorW(
            WINDOWS_PRIVATE, SDDL_REVISION_1, &channel->security.lpSecurityDescriptor, NULL)) {
        windows_error_set(error, GetLastError());
        goto fail;
    }
    /* The name is checked first, as Wine 8 ignores FILE_FLAG_FIRST_PIPE_INSTANCE; on Windows the
     * flag decides. */
    bool taken = WaitNamedPipeW(channel->path, 1) || GetLastError() == ERROR_SEM_TIMEOUT;
    channel->next = taken ? INVALID_HANDLE_VALUE : make_instance(channel, true);
    if (channel->next == INVALID_HANDLE_VALUE) {
        DWORD code = taken ? ERROR_PIPE_BUSY : GetLastError();
        if (code == ERROR_ACCESS_DENIED || code == ERROR_PIPE_BUSY) {
            set_taken(channel->path, name, error);
        } else {
            windows_error_set(error, code);
        }
        goto fail;
    }
    return channel;

fail:
    os_channel_close(channel);
    return NULL;
}

struct os_pipe *os_channel_accept(struct os_channel *channel) {
    while (WaitForSingleObject(channel->interrupted, 0) != WAIT_OBJECT_0) {
        HANDLE handle =
            channel->next != INVALID_HANDLE_VALUE ? channel->next : make_instance(channel, false);
        channel->next = INVALID_HANDLE_VALUE;
        struct os_pipe *pipe =
            handle != INVALID_HANDLE_VALUE ? windows_channel_make_pipe(handle, true) : NULL;
        if (!pipe) {
            WaitForSingleObject(channel->interrupted, 100); /* resources may come back */
            continue;
        }
        DWORD count;
        bool connected = ConnectNamedPipe(handle, windows_operation_prepare(pipe->operation)) != 0;
        DWORD code = connected ? ERROR_SUCCESS : GetLastError();
        connected = connected || code == ERROR_PIPE_CONNECTED ||
                    (code == ERROR_IO_PENDING &&
                     windows_channel_await(pipe, channel->interrupted, -1, &count));
        if (connected) {
            channel->next = make_instance(channel, false); /* before this one can end */
            return pipe;
        }
        destroy_pipe(pipe);
    }
    return NULL;
}

void os_channel_interrupt(struct os_channel *channel) {
    SetEvent(channel->interrupted);
}

void os_channel_close(struct os_channel *channel) {
    if (!channel) {
        return;
    }
    if (channel->next != INVALID_HANDLE_VALUE) {
        CloseHandle(channel->next);
    }
    if (channel->interrupted) {
        CloseHandle(channel->interrupted);
    }
    LocalFree(channel->security.lpSecurityDescriptor);
    alloc_free(channel);
}

/* -- connections ----------------------------------------------------------- */

static struct os_pipe *make_checked(HANDLE handle, const char *name, struct error *error) {
    if (!check_server(handle, name, error)) {
        CloseHandle(handle);
        return NULL;
    }
    struct os_pipe *pipe = windows_channel_make_pipe(handle, false);
    if (!pipe) {
        error_set(error, "out of memory");
    }
    return pipe;
}

struct os_pipe *os_pipe_connect(const char *name, struct error *error) {
    wchar_t path[256];
    uint64_t deadline_ms = os_now_ms() + CONNECT_WAIT_MS;
    if (!make_path(path, ARRAY_COUNT(path), name, error)) {
        return NULL;
    }
    while (true) {
        HANDLE handle = open_pipe(path);
        if (handle != INVALID_HANDLE_VALUE) {
            return make_checked(handle, name, error);
        }
        DWORD code = GetLastError();
        if (code != ERROR_PIPE_BUSY || os_now_ms() >= deadline_ms) {
            windows_error_set(error, code);
            error_prefix(error, "looked for \\\\.\\pipe\\berth-%s: ", name);
            return NULL;
        }
        WaitNamedPipeW(path, 100);
    }
}

/* Windows can list the folder of all pipes like any other one; Wine cannot. */
void os_pipe_visit(bool (*visit)(void *context, struct os_pipe *pipe), void *context) {
    static const wchar_t prefix[] = L"berth-";
    WIN32_FIND_DATAW found;
    HANDLE find = FindFirstFileW(L"\\\\.\\pipe\\*", &found);
    bool go_on = find != INVALID_HANDLE_VALUE;
    while (go_on) {
        char name[MAX_PATH * 3];
        if (wcsncmp(found.cFileName, prefix, ARRAY_COUNT(prefix) - 1) == 0 &&
            windows_text(found.cFileName + ARRAY_COUNT(prefix) - 1, name, sizeof(name)) &&
            strncmp(name, "link-", 5) != 0) { /* those are links of a supervisor */
            struct os_pipe *pipe = os_pipe_connect(name, NULL);
            go_on = !pipe || visit(context, pipe);
        }
        go_on = go_on && FindNextFileW(find, &found);
    }
    if (find != INVALID_HANDLE_VALUE) {
        FindClose(find);
    }
}

int64_t os_pipe_read(struct os_pipe *pipe, void *bytes, size_t size, int timeout_ms) {
    struct windows_operation *operation = pipe->operation;
    DWORD count = 0;
    DWORD wanted = size < PIPE_BYTES ? (DWORD)size : PIPE_BYTES;
    if (!operation ||
        !windows_operation_begun(ReadFile(pipe->handle, operation->bytes, wanted, NULL,
                                          windows_operation_prepare(operation))) ||
        !windows_channel_await(pipe, pipe->interrupted, timeout_ms, &count)) {
        return -1;
    }
    memcpy(bytes, operation->bytes, count);
    return (int64_t)count;
}

bool os_pipe_write(struct os_pipe *pipe, const void *bytes, size_t size, int timeout_ms) {
    const char *at = bytes;
    while (size > 0) {
        struct windows_operation *operation = pipe->operation;
        DWORD count = 0;
        DWORD part = size < PIPE_BYTES ? (DWORD)size : PIPE_BYTES;
        if (!operation) {
            return false;
        }
        memcpy(operation->bytes, at, part);
        if (!windows_operation_begun(WriteFile(pipe->handle, operation->bytes, part, NULL,
                                               windows_operation_prepare(operation))) ||
            !windows_channel_await(pipe, pipe->cut, timeout_ms, &count) || count == 0) {
            return false;
        }
        at += count;
        size -= count;
    }
    return true;
}

void os_pipe_interrupt(struct os_pipe *pipe) {
    SetEvent(pipe->interrupted);
}

void os_pipe_cut(struct os_pipe *pipe) {
    SetEvent(pipe->cut);
    SetEvent(pipe->interrupted);
}

/* Bytes that the client has not read are lost when the pipe is closed, so the client must close
 * first. FlushFileBuffers() would wait without a limit for a client that does not read. */
void os_pipe_finish(struct os_pipe *pipe) {
    uint64_t end_ms = os_now_ms() + LEAVE_WAIT_MS;
    uint64_t now_ms;
    char ignored[256];
    ResetEvent(pipe->interrupted);
    while (WaitForSingleObject(pipe->cut, 0) != WAIT_OBJECT_0 && (now_ms = os_now_ms()) < end_ms &&
           os_pipe_read(pipe, ignored, sizeof(ignored), (int)(end_ms - now_ms)) > 0) {
    }
}

void os_pipe_close(struct os_pipe *pipe) {
    if (!pipe) {
        return;
    }
    if (pipe->served) {
        DisconnectNamedPipe(pipe->handle);
    }
    destroy_pipe(pipe);
}
