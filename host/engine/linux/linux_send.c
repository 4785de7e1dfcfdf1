/* linux_send.c: sending memory and files, and connecting.
 *
 * Sends are tried at once: the socket's buffer nearly always has room. Only when it is full does
 * the engine wait until the socket can be written.
 *
 * Files are sent by sendfile(), which copies nothing. The ring has no operation for it: its splice
 * runs on threads of the kernel, one for each slow client, and needs a pipe for each connection.
 * sendfile() has no flag like MSG_DONTWAIT: it obeys the socket's O_NONBLOCK. But the ring does not
 * wait for a non-blocking socket. So the socket is made non-blocking for the call, and stays so
 * until the ring refuses to wait for it (linux_make_waitable()). That is rare: a receive that is
 * armed already goes on waiting.
 *
 * Read-ahead: sendfile() blocks for the disk when the file is not in memory. So preadv2() first
 * asks whether the last byte of the chunk is. If not, the ring reads it, the system reads ahead,
 * and the send goes on when the read completes. With epoll there is no read-ahead, and sendfile()
 * blocks.
 *
 * The read-ahead run cache (struct linux_warm_run) saves preadv2() for files that are sent again
 * and again: a run that was in memory a moment ago is taken to be there still. If that is wrong, or
 * the descriptor is another file's by now, the worst is that sendfile() blocks for the disk. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"
#include "engine/linux/linux.h"
#include "os/os.h"

/* Of a file, with one call: a client that reads as fast as the file is sent would otherwise keep
 * the worker from all others. */
enum { FILE_CHUNK_BYTES = 256 * 1024 };

/* How long an entry of the read-ahead run cache is valid. */
enum { ARMED_BUFFER_MS = 100 };

/* -- sending --------------------------------------------------------------- */

/* Sends pieces of memory. `more`: more data follows, and a packet that is not full may wait for it.
 */
static ssize_t linux_send_memory(int fd, const struct engine_piece *pieces, unsigned count,
                                 bool more) {
    const int flags = MSG_DONTWAIT | MSG_NOSIGNAL | (more ? MSG_MORE : 0);
    if (count == 1) {
        return linux_calls.send(fd, pieces[0].bytes, pieces[0].size, flags);
    }
    struct iovec vectors[ENGINE_PIECES_MAX];
    for (unsigned i = 0; i < count; i++) {
        vectors[i].iov_base = (void *)(uintptr_t)pieces[i].bytes; /* sendmsg only reads them */
        vectors[i].iov_len = pieces[i].size;
    }
    struct msghdr message = {.msg_iov = vectors, .msg_iovlen = count};
    return linux_calls.sendmsg(fd, &message, flags);
}

static uint64_t chunk_of(const struct engine_piece *piece) {
    return piece->size < FILE_CHUNK_BYTES ? piece->size : FILE_CHUNK_BYTES;
}

/* `more`: a packet that is not full waits for what follows, also for a FIN. sendfile() has no flag
 * for that either, so TCP_CORK is set on the socket and stays set. 0: the file has ended. */
static ssize_t linux_send_file(int fd, const struct engine_piece *piece, bool more) {
    off_t offset = (off_t)piece->offset;
    if (more) {
        linux_calls.setsockopt(fd, IPPROTO_TCP, TCP_CORK, &(int){1}, sizeof(int));
    }
    linux_calls.fcntl(fd, F_SETFL, O_NONBLOCK);
    return linux_calls.sendfile(fd, (int)piece->file, &offset, (size_t)chunk_of(piece));
}

void linux_make_waitable(int fd) {
    linux_calls.fcntl(fd, F_SETFL, 0);
}

bool linux_file_is_cold(struct engine_port *port, struct engine_op *op,
                        const struct engine_piece *piece) {
    if (op_private_of(op)->warmed) {
        op_private_of(op)->warmed = false; /* it has waited once; it does not ask a second time */
        return false;
    }
    uint64_t last = piece->offset + chunk_of(piece) - 1;
    uint64_t number = (uint64_t)piece->file * 31 + last / FILE_CHUNK_BYTES;
    struct linux_warm_run *run = &port->warm_runs[number % LINUX_WARM_RUNS];
    uint64_t now_ms = os_now_ms();
    if (run->file == piece->file && run->last == last && now_ms - run->asked_ms < ARMED_BUFFER_MS) {
        return false;
    }
    uint8_t byte;
    struct iovec vector = {&byte, 1};
    if (linux_calls.preadv2((int)piece->file, &vector, 1, (off_t)last, RWF_NOWAIT) < 0 &&
        errno == EAGAIN) {
        return true;
    }
    *run = (struct linux_warm_run){piece->file, last, now_ms};
    return false;
}

int64_t linux_file_read_ahead(struct engine_port *port, struct engine_socket socket,
                              struct engine_op *op, const struct engine_piece *piece) {
    uint64_t size = chunk_of(piece);
    posix_fadvise((int)piece->file, (off_t)piece->offset, (off_t)size, POSIX_FADV_WILLNEED);
    *op_private_of(op) =
        (struct op_private){.fd = (int)socket.handle, .armed = true, .warmed = true};
    port->pending++;
    port->engine->backend->file_await(port, op, (int)piece->file, piece->offset + size - 1);
    return ENGINE_PENDING;
}

static uint64_t linux_send_size_of(const struct engine_piece *pieces, unsigned count) {
    uint64_t size = 0;
    for (unsigned i = 0; i < count; i++) {
        size += pieces[i].size;
    }
    return size;
}

/* Sends the first run of memory, or of a file; *taken is how many pieces that is. Bytes sent, 0 for
 * a file that has ended, or -1 with the code in errno. */
static ssize_t linux_send_front(int fd, const struct engine_piece *pieces, unsigned count,
                                bool more, unsigned *taken) {
    ssize_t sent;
    *taken = 1;
    if (pieces[0].bytes) {
        while (*taken < count && pieces[*taken].bytes) {
            (*taken)++;
        }
    }
    do {
        sent = pieces[0].bytes ? linux_send_memory(fd, pieces, *taken, more || *taken < count)
                               : linux_send_file(fd, pieces, more && count == 1);
    } while (sent < 0 && errno == EINTR);
    return sent;
}

ssize_t linux_file_send(int fd, const struct engine_piece *piece) {
    unsigned taken;
    return linux_send_front(fd, piece, 1, false, &taken);
}

/* The result of a send that has sent nothing: it waits for room, or fails. */
static int64_t wait_or_fail(struct engine_port *port, struct engine_socket socket,
                            struct engine_op *op, int code) {
    if (code != EAGAIN) {
        return linux_translate(code);
    }
    *op_private_of(op) = (struct op_private){.fd = (int)socket.handle, .armed = true};
    port->pending++;
    port->engine->backend->send_arm(port, op);
    return ENGINE_PENDING;
}

/* `more`: something follows the last piece at once. */
static int64_t send_pieces(struct engine_port *port, struct engine_socket socket,
                           struct engine_op *op, const struct engine_piece *pieces, unsigned count,
                           bool more) {
    int64_t total = 0;
    ASSERT(count > 0 && count <= ENGINE_PIECES_MAX);
    for (unsigned done = 0; done < count;) {
        unsigned taken;
        bool is_file = !pieces[done].bytes;
        if (is_file && port->engine->backend->file_await &&
            linux_file_is_cold(port, op, &pieces[done])) {
            return total > 0 ? total : linux_file_read_ahead(port, socket, op, &pieces[done]);
        }
        ssize_t sent =
            linux_send_front((int)socket.handle, pieces + done, count - done, more, &taken);
        if (sent <= 0 && total > 0) {
            break; /* the next attempt reports it */
        }
        if (sent < 0) {
            return wait_or_fail(port, socket, op, errno);
        }
        if (sent == 0 && is_file) {
            return ENGINE_E_FILE_SHORT;
        }
        total += sent;
        if ((uint64_t)sent < linux_send_size_of(pieces + done, taken)) {
            break;
        }
        done += taken;
    }
    return total;
}

int64_t engine_send(struct engine_port *port, struct engine_socket socket, struct engine_op *op,
                    const struct engine_piece *pieces, unsigned count) {
    if (!linux_has_descriptor(socket)) {
        return port->engine->backend->registered->send(port, socket, op, pieces, count, false);
    }
    if (count == 1 && pieces[0].bytes) { /* the usual case, by the shortest path */
        ssize_t sent = linux_calls.send((int)socket.handle, pieces[0].bytes, pieces[0].size,
                                        MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent >= 0) {
            return sent;
        }
        if (errno != EINTR) {
            return wait_or_fail(port, socket, op, errno);
        }
    }
    return send_pieces(port, socket, op, pieces, count, false);
}

int64_t engine_send_and_fin(struct engine_port *port, struct engine_socket socket,
                            struct engine_op *op, const struct engine_piece *pieces,
                            unsigned count) {
    if (!linux_has_descriptor(socket)) {
        return port->engine->backend->registered->send(port, socket, op, pieces, count, true);
    }
    return send_pieces(port, socket, op, pieces, count, true);
}

void engine_send_cancel(struct engine_port *port, struct engine_socket socket,
                        struct engine_op *op) {
    (void)socket;
    if (op_private_of(op)->armed) {
        op_private_of(op)->stopping = true;
        port->engine->backend->send_disarm(port, op);
    }
}

/* -- connecting ------------------------------------------------------------ */

static int linux_send_open_socket(struct engine_port *port, const struct engine_connect *connect) {
    bool v6 = connect->remote.family == BERTH_FAMILY_IPV6;
    if (!linux_descriptor_take(port)) {
        errno = EMFILE;
        return -1;
    }
    int fd = linux_calls.socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && linux_set_options(fd, &connect->options)) {
        return fd;
    }
    int code = errno;
    if (fd >= 0) {
        linux_calls.close(fd);
    }
    linux_descriptor_give(port->engine);
    errno = code;
    return -1;
}

void engine_connect(struct engine_port *port, struct engine_connect *connect) {
    int fd = linux_send_open_socket(port, connect);
    *op_private_of(&connect->op) = (struct op_private){.fd = fd, .is_connect = true};
    port->pending++;
    connect->socket = ENGINE_NO_SOCKET;
    if (fd < 0) {
        linux_defer(port, &connect->op, linux_translate(errno));
        return;
    }
    connect->socket.handle = fd;
    op_private_of(&connect->op)->armed = true;
    port->engine->backend->connect_start(port, connect);
}

static void linux_send_give_up(struct engine_port *port, struct engine_connect *connect) {
    engine_close(port->engine, connect->socket, true);
    connect->socket = ENGINE_NO_SOCKET;
}

/* The caller sends the first data: a send from here would cost as much. */
void linux_connected(struct engine_port *port, struct engine_connect *connect, int code) {
    op_private_of(&connect->op)->armed = false;
    if (code == 0) {
        static const struct berth_address unknown = {0};
        connect->local = linux_local_address((int)connect->socket.handle, &unknown);
        engine_attach(port, &connect->socket, NULL);
    } else {
        linux_send_give_up(port, connect);
    }
    linux_complete(port, &connect->op, linux_translate(code));
}

void linux_connect_failed(struct engine_port *port, struct engine_connect *connect, int code) {
    op_private_of(&connect->op)->armed = false;
    linux_send_give_up(port, connect);
    linux_defer(port, &connect->op, linux_translate(code));
}

void engine_connect_cancel(struct engine_port *port, struct engine_connect *connect) {
    struct op_private *private = op_private_of(&connect->op);
    if (private->armed && !private->stopping) {
        private->stopping = true;
        port->engine->backend->connect_cancel(port, connect);
    }
}
