/* Echo with epoll, one thread: level-triggered, each socket registered for one thing at a time, one
 * buffer for all. The clients lie in a table by descriptor. */
#include "model_linux.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define EVENTS_MAX 512
#define ACCEPTS_MAX 64 /* in a row */

static void watch(int epoll, int how, int fd, uint32_t events) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(epoll, how, fd, &event) != 0) {
        model_fail("epoll_ctl: %s", strerror(errno));
    }
}

static void accept_clients(int epoll, int listener, struct client *clients) {
    for (int i = 0; i < ACCEPTS_MAX; i++) {
        int fd = model_accept(listener, SOCK_NONBLOCK);
        if (fd < 0) {
            return;
        }
        clients[fd] = (struct client){.fd = fd};
        watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN);
    }
}

static void serve(int epoll, struct client *client, const struct model_options *options,
                  uint8_t *buffer) {
    bool sending = client->rest != NULL;
    enum client_wants wants =
        sending ? client_send_rest(client, options) : client_echo(client, options, buffer);
    if (wants == CLIENT_ENDS) {
        client_close(client);
    } else if ((wants == CLIENT_SENDS) != sending) {
        watch(epoll, EPOLL_CTL_MOD, client->fd, wants == CLIENT_SENDS ? EPOLLOUT : EPOLLIN);
    }
}

int main(int argc, char **argv) {
    struct epoll_event events[EVENTS_MAX];
    struct model_options options;
    model_options_read(&options, argc, argv);
    struct client *clients = calloc((size_t)model_descriptors(), sizeof(*clients));
    uint8_t *buffer = malloc(options.buffer_bytes);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!clients || !buffer || epoll < 0) {
        model_fail("no memory, or no epoll");
    }
    int listener = model_listen(&options);
    watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN);
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS_MAX, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == listener) {
                accept_clients(epoll, listener, clients);
            } else {
                serve(epoll, &clients[events[i].data.fd], &options, buffer);
            }
        }
    }
}
