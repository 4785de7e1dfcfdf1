/* Echo with libevent's buffer events: what has come in is moved to what goes out, without a copy.
 */
#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <string.h>

#include "models/model.h"

static struct model_options options;

static void on_read(struct bufferevent *peer, void *context) {
    struct evbuffer *in = bufferevent_get_input(peer);
    size_t size = evbuffer_get_length(in);
    (void)context;
    evbuffer_add_buffer(bufferevent_get_output(peer), in);
    if (options.close_after > 0 && size >= options.close_after) {
        bufferevent_disable(peer, EV_READ); /* and on_written closes */
    } else if (evbuffer_get_length(bufferevent_get_output(peer)) > 4 * options.buffer_bytes) {
        bufferevent_disable(peer, EV_READ); /* it does not read; on_written goes on */
    }
}

static void on_written(struct bufferevent *peer, void *context) {
    (void)context;
    if (bufferevent_get_enabled(peer) & EV_READ) {
        return;
    }
    if (options.close_after > 0) {
        bufferevent_free(peer);
    } else {
        bufferevent_enable(peer, EV_READ);
    }
}

static void on_event(struct bufferevent *peer, short events, void *context) {
    (void)context;
    if (events & (BEV_EVENT_EOF | BEV_EVENT_ERROR)) {
        bufferevent_free(peer);
    }
}

static void on_accepted(struct evconnlistener *listener, evutil_socket_t fd,
                        struct sockaddr *address, int size, void *context) {
    int one = 1;
    (void)address;
    (void)size;
    (void)context;
    struct bufferevent *peer =
        bufferevent_socket_new(evconnlistener_get_base(listener), fd, BEV_OPT_CLOSE_ON_FREE);
    if (!peer) {
        model_limit("refused: no memory");
        evutil_closesocket(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    bufferevent_setcb(peer, on_read, on_written, on_event, NULL);
    bufferevent_enable(peer, EV_READ | EV_WRITE);
}

static void on_accept_failed(struct evconnlistener *listener, void *context) {
    (void)listener;
    (void)context;
    model_limit("refused: %s", evutil_socket_error_to_string(EVUTIL_SOCKET_ERROR()));
}

int main(int argc, char **argv) {
    model_options_read(&options, argc, argv);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(options.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    signal(SIGPIPE, SIG_IGN);
    struct event_base *base = event_base_new();
    struct evconnlistener *listener =
        evconnlistener_new_bind(base, on_accepted, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE,
                                options.backlog, (struct sockaddr *)&address, sizeof(address));
    if (!listener) {
        model_fail("listen failed");
    }
    evconnlistener_set_error_cb(listener, on_accept_failed);
    getsockname(evconnlistener_get_fd(listener), (struct sockaddr *)&address, &size);
    model_ready(ntohs(address.sin_port));
    return event_base_dispatch(base);
}
