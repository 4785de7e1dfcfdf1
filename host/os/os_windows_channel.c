/* os_windows_channel.c: the way to a running host: a named pipe for its owner and Administrators.
 *
 * There is always an instance that waits for a client, as a name without one is no name. All of it
 * is overlapped, so that a wait can be interrupted and has an end. */
#include <windows.h>

#include <sddl.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/macros.h"
#include "os/os.h"
#include "os/os_windows.h"

enum { PIPE_BYTES = 65536, CONNECT_WAIT_MS = 5000, LEAVE_WAIT_MS = 2000 };

struct os_channel {
    wchar_t path[256];
    SECURITY_ATTRIBUTES security;
    HANDLE next;        /* the instance for the next client; the first one proves that the name is
                           ours */
    HANDLE interrupted; /* a manual event */
};

struct os_pipe {
    HANDLE handle;
    HANDLE done;        /* of the operation under way */
    HANDLE interrupted; /* manual events: reads end, */
    HANDLE cut;         /* and writes */
    bool served;        /* the host's end */
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
    if (pipe->done) {
        CloseHandle(pipe->done);
    }
    if (pipe->interrupted) {
        CloseHandle(pipe->interrupted);
    }
    if (pipe->cut) {
        CloseHandle(pipe->cut);
    }
    alloc_free(pipe);
}

static struct os_pipe *make_pipe(HANDLE handle, bool served) {
    struct os_pipe *pipe = alloc_zeroed(sizeof(*pipe));
    if (!pipe) {
        CloseHandle(handle);
        return NULL;
    }
    pipe->handle = handle;
    pipe->served = served;
    pipe->done = CreateEventW(NULL, TRUE, FALSE, NULL);
    pipe->interrupted = CreateEventW(NULL, TRUE, FALSE, NULL);
    pipe->cut = CreateEventW(NULL, TRUE, FALSE, NULL);
    if (!pipe->done || !pipe->interrupted || !pipe->cut) {
        destroy_pipe(pipe);
        return NULL;
    }
    return pipe;
}

/* Waits for the end of an operation; what is not done by then is cancelled. */
static bool await(HANDLE handle, OVERLAPPED *operation, HANDLE interrupted, int timeout_ms,
                  DWORD *count) {
    HANDLE waits[] = {operation->hEvent, interrupted};
    DWORD limit = timeout_ms < 0 ? INFINITE : (DWORD)timeout_ms;
    if (WaitForMultipleObjects(2, waits, FALSE, limit) != WAIT_OBJECT_0) {
        CancelIoEx(handle, operation);
    }
    return GetOverlappedResult(handle, operation, count, TRUE) != 0;
}

/* -- the host's end ------------------------------------------------------------------------------
 */

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
    /* Asked first, as Wine 8 knows no FILE_FLAG_FIRST_PIPE_INSTANCE; on Windows that decides. */
    bool taken = WaitNamedPipeW(channel->path, 1) || GetLastError() == ERROR_SEM_TIMEOUT;
    channel->next = taken ? INVALID_HANDLE_VALUE : make_instance(channel, true);
    if (channel->next == INVALID_HANDLE_VALUE) {
        DWORD code = taken ? ERROR_PIPE_BUSY : GetLastError();
        if (code == ERROR_ACCESS_DENIED || code == ERROR_PIPE_BUSY) {
            error_set(error, "another host of this name is running (\\\\.\\pipe\\berth-%s)", name);
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
        struct os_pipe *pipe = handle != INVALID_HANDLE_VALUE ? make_pipe(handle, true) : NULL;
        if (!pipe) {
            WaitForSingleObject(channel->interrupted, 100); /* resources may come back */
            continue;
        }
        OVERLAPPED operation = {.hEvent = pipe->done};
        DWORD count;
        ResetEvent(pipe->done);
        bool connected = ConnectNamedPipe(handle, &operation) != 0;
        DWORD code = connected ? ERROR_SUCCESS : GetLastError();
        connected = connected || code == ERROR_PIPE_CONNECTED ||
                    (code == ERROR_IO_PENDING &&
                     await(handle, &operation, channel->interrupted, -1, &count));
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

/* -- connections ---------------------------------------------------------------------------------
 */

struct os_pipe *os_pipe_connect(const char *name, struct error *error) {
    wchar_t path[256];
    uint64_t deadline_ms = os_now_ms() + CONNECT_WAIT_MS;
    if (!make_path(path, ARRAY_COUNT(path), name, error)) {
        return NULL;
    }
    while (true) {
        /* Whoever serves it may not act in our name. */
        HANDLE handle = CreateFileW(
            path, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING,
            FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION, NULL);
        if (handle != INVALID_HANDLE_VALUE) {
            struct os_pipe *pipe = make_pipe(handle, false);
            if (!pipe) {
                error_set(error, "out of memory");
            }
            return pipe;
        }
        DWORD code = GetLastError();
        if (code != ERROR_PIPE_BUSY || os_now_ms() >= deadline_ms) {
            windows_error_set(error, code);
            return NULL;
        }
        WaitNamedPipeW(path, 100);
    }
}

int64_t os_pipe_read(struct os_pipe *pipe, void *bytes, size_t size, int timeout_ms) {
    OVERLAPPED operation = {.hEvent = pipe->done};
    DWORD count = 0;
    ResetEvent(pipe->done);
    DWORD wanted = size < PIPE_BYTES ? (DWORD)size : PIPE_BYTES;
    if (!ReadFile(pipe->handle, bytes, wanted, NULL, &operation) &&
        GetLastError() != ERROR_IO_PENDING) {
        return -1;
    }
    return await(pipe->handle, &operation, pipe->interrupted, timeout_ms, &count) ? (int64_t)count
                                                                                  : -1;
}

bool os_pipe_write(struct os_pipe *pipe, const void *bytes, size_t size, int timeout_ms) {
    const char *at = bytes;
    while (size > 0) {
        OVERLAPPED operation = {.hEvent = pipe->done};
        DWORD count = 0;
        ResetEvent(pipe->done);
        DWORD part = size < PIPE_BYTES ? (DWORD)size : PIPE_BYTES;
        if ((!WriteFile(pipe->handle, at, part, NULL, &operation) &&
             GetLastError() != ERROR_IO_PENDING) ||
            !await(pipe->handle, &operation, pipe->cut, timeout_ms, &count) || count == 0) {
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

/* What the client has not read yet is lost with the pipe: so it is the client who leaves first.
 * FlushFileBuffers() would wait for ever for one that does not. */
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
