/* iocp_send.c: sending memory and files.
 *
 * WSASend sends memory alone. With files among the pieces there are three ways, and the first one
 * that the providers support is used:
 *
 *     TransmitPackets  all pieces in one call
 *     TransmitFile     one run of a file with at most one piece of memory before and one after it;
 *                      more memory before it is sent first by WSASend, as a short send
 *     reading          what a buffer holds of the file, and WSASend
 *
 * Such a send has an iocp_transmit, which holds what must live until the completion and does not
 * fit into the owner's operation: the array of elements, and the OVERLAPPED.
 *
 * The client editions of Windows process two transmits at a time for the whole system and queue all
 * others, where a transmit cannot be cancelled before its turn. So the engine has at most two in
 * flight there. The others wait, prepared, in a queue of their port, where they can be cancelled.
 * They start in their order when a transmit of the port completes, or after a short wait when it
 * was another port's. When the two in flight make no progress because their peers read nothing, the
 * others do not wait: they are read and sent like memory until transmits continue. */
#include "engine/iocp/iocp.h"

#include <utlist.h>

#include "base/alloc.h"
#include "base/assert.h"

enum {
    /* The maximum of one call of a send with files. A peer that reads at all reads that much soon,
     * which frees the transmit for others, and one connection sends no more before the others get
     * their turn. */
    TRANSMIT_BYTES_MAX = 1 << 20,
    WORKSTATION_TRANSMITS_MAX = 2,
    /* How long the first in the queue waits before those in flight count as stalled. */
    STALLED_MS = 1000,
    TRANSMITS_FREE_MAX = 64, /* kept by a port */
};

struct iocp_transmit {
    struct iocp_op op; /* for the system; not counted in `pending`, as the owner's operation is */
    struct iocp_transmit *prev; /* in port->transmits_waiting or port->transmits_free */
    struct iocp_transmit *next;
    struct iocp_op *owner;
    uint64_t since_ms;         /* since when it waits */
    bool has_slot;             /* one of engine->transmits_max */
    struct engine_buffer read; /* for bytes read from a file; owner NULL: none */
    TRANSMIT_FILE_BUFFERS around;
    unsigned count;
    TRANSMIT_PACKETS_ELEMENT elements[ENGINE_PIECES_MAX]; /* none is empty */
};

static bool is_workstation(void) {
    OSVERSIONINFOEXW version = {.dwOSVersionInfoSize = sizeof(version),
                                .wProductType = VER_NT_WORKSTATION};
    return VerifyVersionInfoW(&version, VER_PRODUCT_TYPE,
                              VerSetConditionMask(0, VER_PRODUCT_TYPE, VER_EQUAL));
}

void iocp_send_init(struct engine *engine) {
    engine->transmits_max = is_workstation() ? WORKSTATION_TRANSMITS_MAX : 0;
}

/* -- memory for them ------------------------------------------------------- */

static struct iocp_transmit *transmit_take(struct engine_port *port) {
    struct iocp_transmit *transmit = port->transmits_free;
    if (!transmit) {
        return alloc_zeroed(sizeof(*transmit));
    }
    DL_DELETE(port->transmits_free, transmit);
    port->transmits_free_count--;
    transmit->count = 0;
    return transmit;
}

static void transmit_give(struct engine_port *port, struct iocp_transmit *transmit) {
    ASSERT(!transmit->has_slot);
    ASSERT(!transmit->read.owner);
    if (port->transmits_free_count == TRANSMITS_FREE_MAX) {
        alloc_free(transmit);
        return;
    }
    DL_PREPEND(port->transmits_free, transmit);
    port->transmits_free_count++;
}

void iocp_send_port_remove(struct engine_port *port) {
    ASSERT(!port->transmits_waiting);
    while (port->transmits_free) {
        struct iocp_transmit *transmit = port->transmits_free;
        DL_DELETE(port->transmits_free, transmit);
        alloc_free(transmit);
    }
}

/* -- what is sent ---------------------------------------------------------- */

/* How much of the run the file has now, at most piece->size; negative: ENGINE_E_*. */
static int64_t run_size(const struct engine_piece *piece) {
    LARGE_INTEGER length;
    if (!GetFileSizeEx((HANDLE)piece->file, &length)) {
        return iocp_error(GetLastError());
    }
    uint64_t size = (uint64_t)length.QuadPart;
    uint64_t left = piece->offset < size ? size - piece->offset : 0;
    uint64_t there = piece->size < left ? piece->size : left;
    return there < INT64_MAX ? (int64_t)there : INT64_MAX;
}

/* The elements that the next call is to send. A piece that is not sent whole, because of the
 * maximum or because its file is short, is the last one. 0 or ENGINE_E_*. */
static int64_t elements_fill(struct iocp_transmit *transmit, const struct engine_piece *pieces,
                             unsigned count) {
    uint64_t room = TRANSMIT_BYTES_MAX;
    for (unsigned i = 0; i < count && room > 0; i++) {
        if (pieces[i].size == 0) {
            continue; /* an element of no bytes means the whole file */
        }
        int64_t there = pieces[i].bytes ? (int64_t)pieces[i].size : run_size(&pieces[i]);
        if (there <= 0) {
            bool first = transmit->count == 0;
            return !first ? 0 : there < 0 ? there : ENGINE_E_FILE_SHORT;
        }
        uint64_t size = (uint64_t)there < room ? (uint64_t)there : room;
        TRANSMIT_PACKETS_ELEMENT *element = &transmit->elements[transmit->count++];
        *element = (TRANSMIT_PACKETS_ELEMENT){.cLength = (ULONG)size};
        if (pieces[i].bytes) {
            element->dwElFlags = TP_ELEMENT_MEMORY;
            element->pBuffer = (void *)(uintptr_t)pieces[i].bytes; /* it is only read */
        } else {
            element->dwElFlags = TP_ELEMENT_FILE;
            element->hFile = (HANDLE)pieces[i].file;
            element->nFileOffset.QuadPart = (LONGLONG)pieces[i].offset;
        }
        room -= size;
        if (size < pieces[i].size) {
            break;
        }
    }
    return 0;
}

static bool is_file(const TRANSMIT_PACKETS_ELEMENT *element) {
    return element->dwElFlags & TP_ELEMENT_FILE;
}

/* -- calls ----------------------------------------------------------------- */

static void overlapped_offset(OVERLAPPED *overlapped, const TRANSMIT_PACKETS_ELEMENT *element) {
    overlapped->Offset = element->nFileOffset.LowPart;
    overlapped->OffsetHigh = (DWORD)element->nFileOffset.HighPart;
}

static bool by_transmit_file(struct engine_port *port, struct iocp_transmit *transmit,
                             int64_t *bytes) {
    const TRANSMIT_PACKETS_ELEMENT *file = transmit->elements;
    transmit->around = (TRANSMIT_FILE_BUFFERS){0};
    if (!is_file(file)) {
        transmit->around.Head = file->pBuffer;
        transmit->around.HeadLength = file->cLength;
        file++;
    }
    ASSERT(is_file(file));
    const TRANSMIT_PACKETS_ELEMENT *behind = file + 1;
    if (behind < transmit->elements + transmit->count && !is_file(behind)) {
        transmit->around.Tail = behind->pBuffer;
        transmit->around.TailLength = behind->cLength;
    }
    overlapped_offset(&transmit->op.overlapped, file);
    *bytes = (int64_t)transmit->around.HeadLength + file->cLength + transmit->around.TailLength;
    return port->engine->transmit_file((SOCKET)transmit->op.socket, file->hFile, file->cLength, 0,
                                       &transmit->op.overlapped, &transmit->around, 0);
}

static bool by_packets(struct engine_port *port, struct iocp_transmit *transmit, int64_t *bytes) {
    *bytes = 0;
    for (DWORD i = 0; i < transmit->count; i++) {
        *bytes += transmit->elements[i].cLength;
    }
    return port->engine->transmit_packets((SOCKET)transmit->op.socket, transmit->elements,
                                          transmit->count, 0, &transmit->op.overlapped, 0);
}

static bool wsa_send(struct engine_port *port, struct iocp_transmit *transmit, WSABUF *buffers,
                     DWORD count, int64_t *bytes) {
    DWORD sent = 0;
    bool done = port->engine->winsock->wsa_send((SOCKET)transmit->op.socket, buffers, count, &sent,
                                                0, &transmit->op.overlapped, NULL) == 0;
    *bytes = sent;
    return done;
}

/* Sends the memory at the front, or as much of the file there as the buffer can hold. */
static bool by_reading(struct engine_port *port, struct iocp_transmit *transmit, int64_t *bytes) {
    WSABUF buffers[ENGINE_PIECES_MAX];
    DWORD count = 0;
    while (count < transmit->count && !is_file(&transmit->elements[count])) {
        const TRANSMIT_PACKETS_ELEMENT *memory = &transmit->elements[count];
        buffers[count++] = (WSABUF){memory->cLength, memory->pBuffer};
    }
    if (count > 0) {
        return wsa_send(port, transmit, buffers, count, bytes);
    }
    const TRANSMIT_PACKETS_ELEMENT *file = transmit->elements;
    OVERLAPPED place = {0};
    overlapped_offset(&place, file);
    DWORD capacity = port->buffers.capacity;
    DWORD size = file->cLength < capacity ? file->cLength : capacity;
    if (!ReadFile(file->hFile, transmit->read.bytes, size, &size, &place)) {
        return false;
    }
    buffers[0] = (WSABUF){size, (char *)transmit->read.bytes};
    return wsa_send(port, transmit, buffers, 1, bytes);
}

/* Starts a transmit that is ready. Returns what engine_send() returns. */
static int64_t transmit_start(struct engine_port *port, struct iocp_transmit *transmit) {
    struct engine *engine = port->engine;
    bool done;
    int64_t bytes = 0;
    transmit->op = (struct iocp_op){.socket = transmit->owner->socket, .kind = IOCP_TRANSMIT};
    transmit->owner->where = IOCP_POSTED;
    if (transmit->read.owner) {
        done = by_reading(port, transmit, &bytes);
    } else if (engine->transmit_packets) {
        done = by_packets(port, transmit, &bytes);
    } else {
        done = by_transmit_file(port, transmit, &bytes);
    }
    if (done) {
        /* Success means that all bytes were sent. The OVERLAPPED is valid with the packet only:
         * when a call ends at once the system may leave it unchanged, with 0 bytes in it. */
        return engine->skip_success ? bytes : ENGINE_PENDING;
    }
    unsigned long code = (unsigned long)engine->winsock->last_error();
    return code == WSA_IO_PENDING ? ENGINE_PENDING : iocp_error(code);
}

/* -- the queue of transmits ------------------------------------------------ */

static bool iocp_send_slot_take(struct engine *engine) {
    unsigned taken = atomic_load_explicit(&engine->transmits, memory_order_relaxed);
    do {
        if (taken >= engine->transmits_max) {
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&engine->transmits, &taken, taken + 1,
                                                    memory_order_relaxed, memory_order_relaxed));
    return true;
}

/* Whether it has what it needs to start: one of engine->transmits_max, or else a buffer to read
 * into. */
static bool transmit_is_ready(struct engine_port *port, struct iocp_transmit *transmit) {
    struct engine *engine = port->engine;
    if (engine->transmit_packets || engine->transmit_file) {
        if (engine->transmits_max == 0) {
            return true;
        }
        transmit->has_slot = iocp_send_slot_take(engine);
        if (transmit->has_slot) {
            port->transmits_stalled = false;
            return true;
        }
        if (!port->transmits_stalled) {
            return false;
        }
    }
    if (!port->buffers.take(port->buffers.context, &transmit->read)) {
        transmit->read = (struct engine_buffer){0};
        return false;
    }
    return true;
}

/* The transmit is over: frees its slot and its buffer. */
static void transmit_end(struct engine_port *port, struct iocp_transmit *transmit) {
    if (transmit->has_slot) {
        transmit->has_slot = false;
        atomic_fetch_sub_explicit(&port->engine->transmits, 1, memory_order_relaxed);
    }
    if (transmit->read.owner) {
        port->buffers.give(port->buffers.context, transmit->read.owner);
        transmit->read = (struct engine_buffer){0};
    }
    transmit_give(port, transmit);
}

static void waiting_remove(struct engine_port *port, struct iocp_transmit *transmit) {
    DL_DELETE(port->transmits_waiting, transmit);
    port->transmits_waiting_count--;
}

void iocp_transmits_feed(struct engine_port *port) {
    /* Transmits that are queued meanwhile get their turn in the next pass. */
    for (unsigned left = port->transmits_waiting_count; left > 0; left--) {
        struct iocp_transmit *transmit = port->transmits_waiting;
        if (!transmit) {
            return; /* completions have cancelled the others */
        }
        if (!port->transmits_stalled && os_now_ms() - transmit->since_ms >= STALLED_MS) {
            port->transmits_stalled = true;
        }
        if (!transmit_is_ready(port, transmit)) {
            return;
        }
        waiting_remove(port, transmit);
        int64_t result = transmit_start(port, transmit);
        if (result != ENGINE_PENDING) {
            struct iocp_op *owner = transmit->owner;
            transmit_end(port, transmit);
            iocp_finish(port, owner, result);
        }
    }
}

void iocp_transmit_completed(struct engine_port *port, struct iocp_op *op, DWORD bytes) {
    struct iocp_transmit *transmit = CONTAINER_OF(op, struct iocp_transmit, op);
    struct iocp_op *owner = transmit->owner;
    unsigned long code = iocp_op_error(port, op);
    transmit_end(port, transmit);
    iocp_finish(port, owner, code ? iocp_error(code) : (int64_t)bytes);
}

/* -- those that a cancel does not end -------------------------------------- */

void iocp_transmit_close(struct iocp_op *send) {
    if (send->kind == IOCP_FILE_SEND && send->where == IOCP_POSTED) {
        send->transmit->op.socket = ENGINE_NO_SOCKET.handle;
    }
}

/* Its memory and its slot are kept: the system still processes it. */
void iocp_transmit_abandon(struct iocp_op *send) {
    if (send->kind == IOCP_FILE_SEND && send->where == IOCP_POSTED) {
        send->transmit->op.kind = IOCP_ABANDONED;
    }
}

/* -- the interface --------------------------------------------------------- */

static int64_t iocp_send_memory(struct engine_port *port, struct engine_socket socket,
                                struct iocp_op *send, const struct engine_piece *pieces,
                                unsigned count) {
    WSABUF buffers[ENGINE_PIECES_MAX];
    for (unsigned i = 0; i < count; i++) {
        /* WSABUF serves both directions; a send only reads. */
        buffers[i] = (WSABUF){(ULONG)pieces[i].size, (char *)(uintptr_t)pieces[i].bytes};
    }
    const struct winsock_table *winsock = port->engine->winsock;
    iocp_start(port, send, IOCP_SEND, (SOCKET)socket.handle);
    DWORD sent = 0;
    if (winsock->wsa_send((SOCKET)socket.handle, buffers, count, &sent, 0, &send->overlapped,
                          NULL) == 0) {
        if (!port->engine->skip_success) {
            return ENGINE_PENDING; /* its packet comes in any case */
        }
        iocp_unstart(port, send);
        return sent;
    }
    unsigned long code = (unsigned long)winsock->last_error();
    if (code == WSA_IO_PENDING) {
        return ENGINE_PENDING;
    }
    iocp_unstart(port, send);
    return iocp_error(code);
}

static int64_t send_transmit(struct engine_port *port, struct engine_socket socket,
                             struct iocp_op *send, struct iocp_transmit *transmit) {
    iocp_start(port, send, IOCP_FILE_SEND, (SOCKET)socket.handle);
    send->transmit = transmit;
    transmit->owner = send;
    if (port->transmits_waiting || !transmit_is_ready(port, transmit)) {
        send->where = IOCP_WAITING_FOR_BUFFER;
        transmit->since_ms = os_now_ms();
        DL_APPEND(port->transmits_waiting, transmit);
        port->transmits_waiting_count++;
        return ENGINE_PENDING;
    }
    int64_t result = transmit_start(port, transmit);
    if (result != ENGINE_PENDING) {
        transmit_end(port, transmit);
        iocp_unstart(port, send);
    }
    return result;
}

int64_t engine_send(struct engine_port *port, struct engine_socket socket, struct engine_op *op,
                    const struct engine_piece *pieces, unsigned count) {
    ASSERT(count > 0 && count <= ENGINE_PIECES_MAX);
    const struct engine *engine = port->engine;
    struct iocp_op *send = iocp_op_of(op);
    unsigned memory = 0; /* pieces of memory at the front, and how many of them are not empty */
    unsigned full = 0;
    while (memory < count && pieces[memory].bytes) {
        full += pieces[memory++].size > 0;
    }
    unsigned ahead = engine->transmit_packets ? ENGINE_PIECES_MAX : engine->transmit_file ? 1 : 0;
    if (memory == count || full > ahead) {
        return iocp_send_memory(port, socket, send, pieces, memory);
    }
    struct iocp_transmit *transmit = transmit_take(port);
    if (!transmit) {
        return ENGINE_E_NO_RESOURCES;
    }
    int64_t result = elements_fill(transmit, pieces, count);
    if (result == 0 && transmit->count > full) {
        return send_transmit(port, socket, send, transmit);
    }
    transmit_give(port, transmit);
    /* No file in this call: memory fills it, or the file has ended, which the next call reports, or
     * all the pieces are empty. */
    return full > 0 ? iocp_send_memory(port, socket, send, pieces, memory) : result;
}

/* Winsock cannot do that: a disconnect carries no data, and the FIN is sent in a packet of its own.
 */
int64_t engine_send_and_fin(struct engine_port *port, struct engine_socket socket,
                            struct engine_op *op, const struct engine_piece *pieces,
                            unsigned count) {
    return engine_send(port, socket, op, pieces, count);
}

void engine_send_cancel(struct engine_port *port, struct engine_socket socket,
                        struct engine_op *op) {
    struct iocp_op *send = iocp_op_of(op);
    HANDLE handle = (HANDLE)(SOCKET)socket.handle;
    if (send->kind == IOCP_SEND) {
        port->engine->winsock->cancel(handle, &send->overlapped);
    } else if (send->kind == IOCP_FILE_SEND && send->where == IOCP_POSTED) {
        port->engine->winsock->cancel(handle, &send->transmit->op.overlapped);
    } else if (send->kind == IOCP_FILE_SEND && send->where == IOCP_WAITING_FOR_BUFFER) {
        struct iocp_transmit *transmit = send->transmit;
        waiting_remove(port, transmit);
        transmit_end(port, transmit);
        send->where = IOCP_READY;
        iocp_defer(port, send, ENGINE_E_CANCELLED);
    }
}
