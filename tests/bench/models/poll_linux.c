/* Echo with poll, one thread: the kernel is given the whole list of sockets at every call. */
#include "model_linux.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#define ACCEPTS_MAX 64 /* in a row */

struct server {
    struct model_options options;
    struct pollfd *polled;  /* the listener first */
    struct client *clients; /* in the same order; the first is not used */
    unsigned count;
    uint8_t *buffer;
};

static void accept_clients(struct server *server) {
    for (int i = 0; i < ACCEPTS_MAX; i++) {
        int fd = model_accept(server->polled[0].fd, SOCK_NONBLOCK);
        if (fd < 0) {
            return;
        }
        server->clients[server->count] = (struct client){.fd = fd};
        server->polled[server->count] = (struct pollfd){.fd = fd, .events = POLLIN};
        server->count++;
    }
}

/* The last one takes the place of the one that ends. */
static void end(struct server *server, unsigned index) {
    client_close(&server->clients[index]);
    server->count--;
    server->clients[index] = server->clients[server->count];
    server->polled[index] = server->polled[server->count];
}

static void serve(struct server *server, unsigned index) {
    struct client *client = &server->clients[index];
    enum client_wants wants = client->rest ? client_send_rest(client, &server->options)
                                           : client_echo(client, &server->options, server->buffer);
    if (wants == CLIENT_ENDS) {
        end(server, index);
    } else {
        server->polled[index].events = wants == CLIENT_SENDS ? POLLOUT : POLLIN;
    }
}

int main(int argc, char **argv) {
    struct server server = {.count = 1};
    model_options_read(&server.options, argc, argv);
    size_t most = (size_t)model_descriptors();
    server.polled = calloc(most, sizeof(*server.polled));
    server.clients = calloc(most, sizeof(*server.clients));
    server.buffer = malloc(server.options.buffer_bytes);
    if (!server.polled || !server.clients || !server.buffer) {
        model_fail("no memory");
    }
    server.polled[0] = (struct pollfd){.fd = model_listen(&server.options), .events = POLLIN};
    for (;;) {
        int ready = poll(server.polled, server.count, -1);
        /* From the back, so that whoever takes a free place has had its turn. */
        for (unsigned i = server.count - 1; i > 0 && ready > 0; i--) {
            if (server.polled[i].revents != 0) {
                ready--;
                serve(&server, i);
            }
        }
        if (ready > 0 && server.polled[0].revents != 0) {
            accept_clients(&server);
        }
    }
}
