/* Echo with libuv, as its guide has it, but that a write is tried at once before one is queued. The
 * same on every system. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "models/model.h"

struct peer {
    uv_tcp_t tcp; /* first, so that one is the other */
    uint64_t echoed;
    unsigned writing; /* writes queued */
};

struct rest {
    uv_write_t write; /* first */
    size_t size;
    char bytes[];
};

static struct model_options options;
static char *shared; /* what is received is sent, or copied, before the next receive */

static void on_closed(uv_handle_t *handle) {
    free(handle);
}

static void close_peer(struct peer *peer) {
    if (!uv_is_closing((uv_handle_t *)&peer->tcp)) {
        uv_close((uv_handle_t *)&peer->tcp, on_closed);
    }
}

static void count(struct peer *peer, size_t sent) {
    peer->echoed += sent;
    if (options.close_after > 0 && peer->echoed >= options.close_after && peer->writing == 0) {
        close_peer(peer);
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer) {
    (void)handle;
    (void)suggested;
    *buffer = uv_buf_init(shared, (unsigned)options.buffer_bytes);
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer);

/* Reading stops while something waits to be written: a peer that does not read is not read. */
static void on_written(uv_write_t *write, int status) {
    struct rest *rest = (struct rest *)write;
    struct peer *peer = (struct peer *)write->handle;
    peer->writing--;
    if (status < 0) {
        close_peer(peer);
    } else {
        count(peer, rest->size);
    }
    if (!uv_is_closing((uv_handle_t *)&peer->tcp)) {
        uv_read_start((uv_stream_t *)&peer->tcp, on_alloc, on_read);
    }
    free(rest);
}

static void write_rest(struct peer *peer, const char *bytes, size_t size) {
    struct rest *rest = malloc(sizeof(*rest) + size);
    if (!rest) {
        close_peer(peer);
        return;
    }
    uv_buf_t buffer = uv_buf_init(rest->bytes, (unsigned)size);
    rest->size = size;
    memcpy(rest->bytes, bytes, size);
    peer->writing++;
    uv_read_stop((uv_stream_t *)&peer->tcp);
    uv_write(&rest->write, (uv_stream_t *)&peer->tcp, &buffer, 1, on_written);
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer) {
    struct peer *peer = (struct peer *)stream;
    if (size <= 0) {
        if (size < 0) {
            close_peer(peer);
        }
        return;
    }
    uv_buf_t whole = uv_buf_init(buffer->base, (unsigned)size);
    int sent = uv_try_write(stream, &whole, 1);
    if (sent < 0 && sent != UV_EAGAIN) {
        close_peer(peer);
        return;
    }
    sent = sent < 0 ? 0 : sent;
    if (sent < size) {
        write_rest(peer, buffer->base + sent, (size_t)(size - sent));
    }
    count(peer, (size_t)sent);
}

static void on_connection(uv_stream_t *listener, int status) {
    struct peer *peer = calloc(1, sizeof(*peer));
    if (status < 0 || !peer) {
        model_limit("refused: %s", status < 0 ? uv_strerror(status) : "no memory");
        free(peer);
        return;
    }
    uv_tcp_init(listener->loop, &peer->tcp);
    if (uv_accept(listener, (uv_stream_t *)&peer->tcp) != 0) {
        close_peer(peer);
        return;
    }
    uv_tcp_nodelay(&peer->tcp, 1);
    uv_read_start((uv_stream_t *)&peer->tcp, on_alloc, on_read);
}

int main(int argc, char **argv) {
    struct sockaddr_in address;
    int size = sizeof(address);
    uv_tcp_t listener;
    model_options_read(&options, argc, argv);
#ifdef SIGPIPE /* not everywhere, and nowhere else does a send raise it */
    signal(SIGPIPE, SIG_IGN);
#endif
    shared = malloc(options.buffer_bytes);
    uv_ip4_addr("127.0.0.1", options.port, &address);
    uv_tcp_init(uv_default_loop(), &listener);
    uv_tcp_bind(&listener, (const struct sockaddr *)&address, 0);
    int code = uv_listen((uv_stream_t *)&listener, options.backlog, on_connection);
    if (code != 0 || !shared) {
        model_fail("listen: %s", uv_strerror(code));
    }
    uv_tcp_getsockname(&listener, (struct sockaddr *)&address, &size);
    model_ready(ntohs(address.sin_port));
    return uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
