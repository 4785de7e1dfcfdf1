/* Echo with two threads a client, everything blocking: one receives, one sends, and between them a
 * ring of bytes that both wait at. A client that does not read stops its own two threads and nobody
 * else. */
#include "model_windows.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>

#define STACK_BYTES (64 * 1024)
#define THREAD_BYTES (48 * 1024) /* its stacks, here and in the kernel, and what goes with them */

static atomic_uint clients;
static unsigned clients_max;

/* The first byte not yet sent is bytes[begin], behind it lie `size` of them. */
struct pair {
    SOCKET socket;
    const struct model_options *options;
    CRITICAL_SECTION lock;
    CONDITION_VARIABLE changed;
    size_t begin, size;
    bool received_all, broken; /* broken: the sender has given up, or has closed by itself */
    unsigned threads;
    uint8_t bytes[];
};

/* The one of the two that goes last closes. */
static void leave(struct pair *pair) {
    EnterCriticalSection(&pair->lock);
    bool last = --pair->threads == 0;
    LeaveCriticalSection(&pair->lock);
    if (last) {
        model_close(pair->socket);
        DeleteCriticalSection(&pair->lock);
        free(pair);
        atomic_fetch_sub(&clients, 1);
    }
}

static size_t least(size_t left, size_t right) {
    return left < right ? left : right;
}

static DWORD WINAPI receive_all(void *argument) {
    struct pair *pair = argument;
    size_t whole = pair->options->buffer_bytes;
    EnterCriticalSection(&pair->lock);
    while (!pair->received_all && !pair->broken) {
        if (pair->size == whole) {
            SleepConditionVariableCS(&pair->changed, &pair->lock, INFINITE);
            continue;
        }
        size_t end = (pair->begin + pair->size) % whole;
        size_t room = least(whole - pair->size, whole - end);
        LeaveCriticalSection(&pair->lock);
        int size = recv(pair->socket, (char *)pair->bytes + end, (int)room, 0);
        EnterCriticalSection(&pair->lock);
        if (size > 0) {
            pair->size += (size_t)size;
        } else {
            pair->received_all = true;
        }
        WakeConditionVariable(&pair->changed);
    }
    LeaveCriticalSection(&pair->lock);
    leave(pair);
    return 0;
}

static DWORD WINAPI send_all(void *argument) {
    struct pair *pair = argument;
    size_t whole = pair->options->buffer_bytes;
    uint64_t close_after = pair->options->close_after, echoed = 0;
    EnterCriticalSection(&pair->lock);
    while (!pair->broken && (pair->size > 0 || !pair->received_all)) {
        if (pair->size == 0) {
            SleepConditionVariableCS(&pair->changed, &pair->lock, INFINITE);
            continue;
        }
        size_t piece = least(pair->size, whole - pair->begin);
        const char *bytes = (const char *)pair->bytes + pair->begin;
        LeaveCriticalSection(&pair->lock);
        int sent = send(pair->socket, bytes, (int)piece, 0);
        EnterCriticalSection(&pair->lock);
        if (sent > 0) {
            pair->begin = (pair->begin + (size_t)sent) % whole;
            pair->size -= (size_t)sent;
            echoed += (uint64_t)sent;
        }
        pair->broken = sent <= 0 || (close_after > 0 && echoed >= close_after);
        WakeConditionVariable(&pair->changed);
    }
    LeaveCriticalSection(&pair->lock);
    shutdown(pair->socket, SD_BOTH); /* the other may still be in recv() */
    leave(pair);
    return 0;
}

static bool start_thread(LPTHREAD_START_ROUTINE function, struct pair *pair) {
    HANDLE thread =
        CreateThread(NULL, STACK_BYTES, function, pair, STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
    return thread && CloseHandle(thread);
}

/* Half of the memory is left to others; for threads there is no limit that could be asked for. */
static void find_clients_max(size_t buffer_bytes) {
    MEMORYSTATUSEX memory = {.dwLength = sizeof(memory)};
    unsigned long long most = GlobalMemoryStatusEx(&memory)
                                  ? memory.ullAvailPhys / 2 / (buffer_bytes + 2 * THREAD_BYTES)
                                  : 0;
    clients_max = most < UINT_MAX ? (unsigned)most : UINT_MAX;
}

static void start(SOCKET socket, const struct model_options *options) {
    if (atomic_load(&clients) >= clients_max) {
        model_limit("refused: %u clients with two threads each are all that the memory allows",
                    clients_max);
        model_close(socket);
        return;
    }
    struct pair *pair = calloc(1, sizeof(*pair) + options->buffer_bytes);
    if (!pair) {
        model_limit("refused: no memory for another client");
        model_close(socket);
        return;
    }
    pair->socket = socket;
    pair->options = options;
    pair->threads = 2;
    atomic_fetch_add(&clients, 1);
    InitializeCriticalSection(&pair->lock);
    InitializeConditionVariable(&pair->changed);
    if (!start_thread(send_all, pair)) {
        model_limit("refused: no thread for another client");
        pair->threads = 1;
        leave(pair);
    } else if (!start_thread(receive_all, pair)) {
        model_limit("refused: no second thread for another client");
        EnterCriticalSection(&pair->lock);
        pair->broken = true;
        WakeConditionVariable(&pair->changed);
        LeaveCriticalSection(&pair->lock);
        leave(pair);
    }
}

int main(int argc, char **argv) {
    struct model_options options;
    model_options_read(&options, argc, argv);
    find_clients_max(options.buffer_bytes);
    SOCKET listener = model_listen(&options);
    for (;;) {
        SOCKET socket = model_accept(listener);
        if (socket != INVALID_SOCKET) {
            start(socket, &options);
        }
    }
}
