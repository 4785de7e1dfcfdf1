#include "fake_engine.h"

#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"
#include "os/os.h"

struct engine {
    int unused;
};

/* Each port is a queue of posts under a lock. */
struct engine_port {
    struct engine_port_options options;
    struct engine_buffer received;
    struct os_mutex mutex;
    struct os_condition condition;
    struct engine_op *first; /* linked through the opaque part */
    struct engine_op *last;
    unsigned pending;
};

static struct engine the_engine;
static struct fake_socket sockets[FAKE_SOCKETS_MAX];

struct fake_socket *fake_socket(int number) {
    return &sockets[number];
}

void fake_reset(void) {
    memset(sockets, 0, sizeof(sockets));
    for (int i = 0; i < FAKE_SOCKETS_MAX; i++) {
        sockets[i].open = true;
        sockets[i].send_room = UINT32_MAX;
    }
}

uint64_t engine_now_ms(void) {
    return os_now_ms();
}

const char *engine_error_text(int64_t result) {
    (void)result;
    return "a made-up error";
}

struct engine *engine_create(const struct engine_options *options, struct error *error) {
    (void)options;
    (void)error;
    return &the_engine;
}

bool engine_file_take(struct engine *engine) {
    (void)engine;
    return true;
}

void engine_file_give(struct engine *engine) {
    (void)engine;
}

void engine_destroy(struct engine *engine) {
    (void)engine;
}

const struct engine_traits *engine_traits(const struct engine *engine) {
    static const struct engine_traits traits = {.name = "fake", .accept_on_workers = true};
    (void)engine;
    return &traits;
}

/* -- ports ----------------------------------------------------------------- */

struct engine_port *engine_port_create(struct engine *engine,
                                       const struct engine_port_options *options,
                                       struct error *error) {
    (void)engine;
    struct engine_port *port = alloc_zeroed(sizeof(*port));
    if (!port) {
        error_set(error, "out of memory");
        return NULL;
    }
    port->options = *options;
    os_mutex_init(&port->mutex);
    os_condition_init(&port->condition);
    return port;
}

void engine_port_destroy(struct engine_port *port) {
    ASSERT(port->pending == 0);
    os_condition_fini(&port->condition);
    os_mutex_fini(&port->mutex);
    alloc_free(port);
}

static struct engine_op *next_of(struct engine_op *op) {
    struct engine_op *next;
    memcpy(&next, op->opaque, sizeof(next));
    return next;
}

unsigned engine_port_run(struct engine_port *port, int timeout_ms) {
    os_mutex_lock(&port->mutex);
    if (!port->first && timeout_ms != 0) {
        os_condition_wait(&port->condition, &port->mutex, timeout_ms);
    }
    struct engine_op *op = port->first;
    port->first = NULL;
    port->last = NULL;
    os_mutex_unlock(&port->mutex);
    unsigned count = 0;
    while (op) {
        struct engine_op *next = next_of(op);
        os_mutex_lock(&port->mutex);
        port->pending--;
        os_mutex_unlock(&port->mutex);
        op->complete(op, (int64_t)op->opaque[1]);
        op = next;
        count++;
    }
    return count;
}

static void post(struct engine_port *port, struct engine_op *op, int64_t result) {
    struct engine_op *none = NULL;
    memcpy(op->opaque, &none, sizeof(none));
    op->opaque[1] = (uint64_t)result;
    os_mutex_lock(&port->mutex);
    if (port->last) {
        memcpy(port->last->opaque, &op, sizeof(struct engine_op *));
    } else {
        port->first = op;
    }
    port->last = op;
    port->pending++;
    os_condition_signal_all(&port->condition);
    os_mutex_unlock(&port->mutex);
}

void engine_port_trim(struct engine_port *port) {
    (void)port;
}

void engine_port_post(struct engine_port *port, struct engine_op *op) {
    post(port, op, 0);
}

unsigned engine_port_pending(const struct engine_port *port) {
    return port->pending;
}

/* -- sockets --------------------------------------------------------------- */

bool engine_attach(struct engine_port *port, struct engine_socket *socket, struct error *error) {
    (void)port;
    return sockets[socket->handle].attach_error == 0 || error_set(error, "no attaching today");
}

int64_t engine_shutdown_send(struct engine_port *port, struct engine_socket socket) {
    (void)port;
    sockets[socket.handle].fin_sent = true;
    return 0;
}

bool engine_unacked_bytes(struct engine_port *port, struct engine_socket socket, uint64_t *bytes) {
    (void)port;
    *bytes = sockets[socket.handle].untaken;
    return *bytes > 0;
}

static void close_socket(struct engine_socket socket, bool reset) {
    struct fake_socket *fake = &sockets[socket.handle];
    ASSERT(fake->open);
    ASSERT(!fake->receive); /* the contract: nothing is in flight */
    ASSERT(!fake->send);
    fake->open = false;
    fake->reset = reset;
}

void engine_close(struct engine *engine, struct engine_socket socket, bool reset) {
    (void)engine;
    if (socket.handle != ENGINE_NO_SOCKET.handle) {
        close_socket(socket, reset);
    }
}

bool engine_close_in_flight(struct engine_port *port, struct engine_socket *socket,
                            struct engine_receive *receive, struct engine_op *send) {
    struct fake_socket *fake = &sockets[socket->handle];
    (void)port;
    ASSERT(fake->open);
    ASSERT(fake->receive == receive && (!receive || fake->receive_stopping));
    ASSERT(fake->send == send && (!send || fake->send_error == ENGINE_E_CANCELLED));
    fake->closed_in_flight++;
    if (fake->refuse_close > 0) {
        fake->refuse_close--;
        return false;
    }
    fake->open = false;
    fake->reset = true;
    *socket = ENGINE_NO_SOCKET;
    return true;
}

void engine_recycle(struct engine_port *port, struct engine_socket socket) {
    (void)port;
    close_socket(socket, false);
    sockets[socket.handle].recycled = true;
}

/* -- receiving ------------------------------------------------------------- */

void engine_receive_start(struct engine_port *port, struct engine_socket socket,
                          struct engine_receive *receive, enum engine_receive_mode mode,
                          bool is_first) {
    (void)port;
    (void)mode;
    (void)is_first;
    ASSERT(!sockets[socket.handle].receive);
    sockets[socket.handle].receive = receive;
    sockets[socket.handle].receive_stopping = false;
}

void engine_receive_drain(struct engine_port *port, struct engine_socket socket,
                          struct engine_receive *receive) {
    engine_receive_start(port, socket, receive, ENGINE_RECEIVE_ZERO_BYTE, false);
}

void engine_receive_stop(struct engine_port *port, struct engine_socket socket,
                         struct engine_receive *receive) {
    (void)port;
    ASSERT(sockets[socket.handle].receive == receive);
    sockets[socket.handle].receive_stopping = true;
}

const struct engine_buffer *engine_received(const struct engine_port *port) {
    return &port->received;
}

void fake_arrive(struct engine_port *port, int number, const void *bytes, uint32_t size) {
    struct engine_receive *receive = sockets[number].receive;
    ASSERT(receive);
    const struct engine_buffer_source *source = &port->options.buffers;
    ASSERT(size <= source->capacity);
    ASSERT(source->take(source->context, &port->received));
    memcpy(port->received.bytes, bytes, size);
    port->received.size = size;
    receive->op.complete(&receive->op, size);
}

void fake_end(int number, int64_t result) {
    struct engine_receive *receive = sockets[number].receive;
    ASSERT(receive);
    sockets[number].receive = NULL;
    receive->op.complete(&receive->op, result);
}

/* -- sending --------------------------------------------------------------- */

int64_t engine_send(struct engine_port *port, struct engine_socket socket, struct engine_op *op,
                    const struct engine_piece *pieces, unsigned count) {
    struct fake_socket *fake = &sockets[socket.handle];
    int64_t sent = 0;
    (void)port;
    ASSERT(!fake->send);
    if (fake->send_error != 0) {
        return fake->send_error;
    }
    for (unsigned i = 0; i < count && fake->send_room > 0; i++) {
        uint32_t size = pieces[i].size < fake->send_room ? pieces[i].size : fake->send_room;
        ASSERT(fake->sent_size + size <= FAKE_OUTPUT_MAX);
        memcpy(fake->sent + fake->sent_size, pieces[i].bytes, size);
        fake->sent_size += size;
        fake->send_room -= fake->send_room == UINT32_MAX ? 0 : size;
        sent += size;
    }
    if (sent == 0) {
        fake->send = op;
        return ENGINE_PENDING;
    }
    return sent;
}

int64_t engine_send_and_fin(struct engine_port *port, struct engine_socket socket,
                            struct engine_op *op, const struct engine_piece *pieces,
                            unsigned count) {
    return engine_send(port, socket, op, pieces, count);
}

void engine_send_cancel(struct engine_port *port, struct engine_socket socket,
                        struct engine_op *op) {
    (void)port;
    ASSERT(sockets[socket.handle].send == op);
    sockets[socket.handle].send_error = ENGINE_E_CANCELLED;
}

static void complete_send(struct fake_socket *fake, int64_t result) {
    struct engine_op *op = fake->send;
    fake->send = NULL;
    op->complete(op, result);
}

void fake_sendable(int number, uint32_t room) {
    sockets[number].send_room = room;
    if (sockets[number].send) {
        complete_send(&sockets[number], 0);
    }
}

void fake_send_end(int number, int64_t result) {
    complete_send(&sockets[number], result);
}

void fake_run_stopped(void) {
    for (int i = 0; i < FAKE_SOCKETS_MAX; i++) {
        if (sockets[i].receive && sockets[i].receive_stopping) {
            fake_end(i, ENGINE_E_CANCELLED);
        }
        if (sockets[i].send && sockets[i].send_error == ENGINE_E_CANCELLED) {
            complete_send(&sockets[i], ENGINE_E_CANCELLED);
        }
    }
}

/* -- listening: connections are adopted by the tests themselves
 * ------------------------------------ */

struct engine_listener {
    struct berth_address address;
};

struct engine_listener *engine_listener_open(struct engine *engine,
                                             const struct engine_listen_options *options,
                                             struct error *error) {
    (void)engine;
    struct engine_listener *listener = alloc_zeroed(sizeof(*listener));
    if (!listener) {
        error_set(error, "out of memory");
        return NULL;
    }
    listener->address = options->address;
    return listener;
}

struct berth_address engine_listener_address(const struct engine_listener *listener) {
    return listener->address;
}

void engine_listener_configure(struct engine_listener *listener,
                               const struct engine_listen_options *options) {
    (void)listener;
    (void)options;
}

bool engine_listener_start(struct engine_listener *listener, struct error *error) {
    (void)listener;
    (void)error;
    return true;
}

void engine_listener_close(struct engine_listener *listener) {
    alloc_free(listener);
}

/* -- accepting: what is posted waits for the test -------------------------- */

static struct fake_acceptor the_acceptor;

struct fake_acceptor *fake_acceptor(void) {
    return &the_acceptor;
}

struct engine_acceptor *engine_acceptor_create(struct engine_port *port,
                                               struct engine_listener *listener, unsigned index,
                                               engine_starved_fn *starved, void *context,
                                               struct error *error) {
    (void)listener;
    (void)index;
    (void)error;
    the_acceptor = (struct fake_acceptor){.port = port, .starved = starved, .context = context};
    return (struct engine_acceptor *)&the_acceptor;
}

bool engine_acceptor_is_plain(const struct engine_acceptor *acceptor) {
    (void)acceptor;
    return false;
}

bool engine_acceptor_fall_back(struct engine_acceptor *acceptor) {
    (void)acceptor;
    the_acceptor.fell_back = true;
    return true;
}

void engine_acceptor_destroy(struct engine_acceptor *acceptor) {
    if (acceptor) {
        ASSERT(the_acceptor.count == 0);
        the_acceptor.port = NULL;
    }
}

void engine_accept(struct engine_acceptor *acceptor, struct engine_accept *accept) {
    (void)acceptor;
    ASSERT(the_acceptor.count < FAKE_ACCEPTS_MAX);
    ASSERT(!accept->with_data || !the_acceptor.fell_back);
    accept->home = NULL;
    accept->opaque[0] = 0;
    the_acceptor.posted[the_acceptor.count++] = accept;
    the_acceptor.posts++;
    if (the_acceptor.count > the_acceptor.most) {
        the_acceptor.most = the_acceptor.count;
    }
}

static void take_accept(const struct engine_accept *accept) {
    unsigned at = 0;
    while (the_acceptor.posted[at] != accept) {
        at++;
        ASSERT(at < the_acceptor.count);
    }
    the_acceptor.count--;
    memmove(&the_acceptor.posted[at], &the_acceptor.posted[at + 1],
            (the_acceptor.count - at) * sizeof(the_acceptor.posted[0]));
}

void fake_silence(unsigned index, uint64_t connected_ms) {
    the_acceptor.posted[index]->opaque[0] = connected_ms + 1;
}

unsigned fake_accepts_with_data(void) {
    unsigned count = 0;
    for (unsigned i = 0; i < the_acceptor.count; i++) {
        count += the_acceptor.posted[i]->with_data;
    }
    return count;
}

void fake_accept(unsigned index, int number, const char *first) {
    ASSERT(index < the_acceptor.count);
    struct engine_accept *accept = the_acceptor.posted[index];
    int64_t size = 0;
    take_accept(accept);
    accept->socket = (struct engine_socket){.handle = number};
    accept->remote = (struct berth_address){.family = BERTH_FAMILY_IPV4};
    if (accept->with_data && first) {
        const struct engine_buffer_source *source = &the_acceptor.port->options.buffers;
        ASSERT(source->take(source->context, &accept->data));
        size = (int64_t)strlen(first);
        memcpy(accept->data.bytes, first, (size_t)size);
    }
    accept->op.complete(&accept->op, size);
}

void fake_accept_fail(unsigned index, int64_t result) {
    ASSERT(index < the_acceptor.count);
    struct engine_accept *accept = the_acceptor.posted[index];
    take_accept(accept);
    accept->op.complete(&accept->op, result);
}

void fake_starve(void) {
    the_acceptor.starved((struct engine_acceptor *)&the_acceptor, the_acceptor.context);
}

int64_t engine_accept_connected_ms(const struct engine_accept *accept) {
    return (int64_t)accept->opaque[0] - 1;
}

void engine_accept_cancel(struct engine_acceptor *acceptor, struct engine_accept *accept) {
    (void)acceptor;
    take_accept(accept);
    if (the_acceptor.late > 0) {
        accept->socket = (struct engine_socket){.handle = (int)--the_acceptor.late};
        accept->remote = (struct berth_address){.family = BERTH_FAMILY_IPV4};
        accept->with_data = false;
        post(the_acceptor.port, &accept->op, 0);
        return;
    }
    post(the_acceptor.port, &accept->op, ENGINE_E_CANCELLED);
}

/* -- connecting: nobody does (test_outbound.c is on the simulated engine) -- */

bool engine_resolve(const char *host, uint16_t port, struct berth_address *addresses,
                    unsigned capacity, unsigned *count, struct error *error) {
    (void)host, (void)port, (void)addresses, (void)capacity, (void)count, (void)error;
    ASSERT(false);
}

void engine_connect(struct engine_port *port, struct engine_connect *connect) {
    (void)port, (void)connect;
    ASSERT(false);
}

void engine_connect_cancel(struct engine_port *port, struct engine_connect *connect) {
    (void)port, (void)connect;
    ASSERT(false);
}

/* -- datagrams: none ------------------------------------------------------- */

struct engine_receiver *engine_receiver_create(struct engine_port *port, struct engine_listener *of,
                                               unsigned index, engine_datagram_fn *received,
                                               engine_datagram_lost_fn *lost, void *context,
                                               struct error *error) {
    (void)port, (void)of, (void)index, (void)received, (void)lost, (void)context;
    error_set(error, "no datagrams here");
    return NULL;
}

void engine_receiver_stop(struct engine_receiver *receiver, struct engine_op *stopped) {
    (void)receiver, (void)stopped;
    ASSERT(false);
}

int64_t engine_receiver_send(struct engine_receiver *receiver, const struct berth_address *local,
                             const struct berth_address *remote, const struct engine_buffer *data) {
    (void)receiver, (void)local, (void)remote, (void)data;
    return ENGINE_E_OTHER;
}

int64_t engine_datagram_send(struct engine_listener *of, const struct berth_address *local,
                             const struct berth_address *remote, const uint8_t *bytes,
                             uint32_t size) {
    (void)of, (void)local, (void)remote, (void)bytes, (void)size;
    return ENGINE_E_OTHER;
}
