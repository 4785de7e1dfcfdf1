/* Echo with select, one thread, non-blocking sockets. A set has room for the descriptors below
 * FD_SETSIZE (1024) and for no others: a client beyond is refused. */
#include "model_linux.h"

#include <stdlib.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPTS_MAX 64 /* in a row */

static struct client clients[FD_SETSIZE]; /* by descriptor */
static fd_set reading, writing;
static int highest;

static void accept_clients(int listener) {
    for (int i = 0; i < ACCEPTS_MAX; i++) {
        int fd = model_accept(listener, SOCK_NONBLOCK);
        if (fd < 0) {
            return;
        }
        if (fd >= FD_SETSIZE) {
            model_limit("refused: select has room for descriptors below %d", FD_SETSIZE);
            close(fd);
            continue;
        }
        clients[fd] = (struct client){.fd = fd};
        FD_SET(fd, &reading);
        highest = fd > highest ? fd : highest;
    }
}

static void serve(int fd, const struct model_options *options, uint8_t *buffer) {
    struct client *client = &clients[fd];
    enum client_wants wants =
        client->rest ? client_send_rest(client, options) : client_echo(client, options, buffer);
    FD_CLR(fd, &reading);
    FD_CLR(fd, &writing);
    if (wants == CLIENT_ENDS) {
        client_close(client);
    } else {
        FD_SET(fd, wants == CLIENT_SENDS ? &writing : &reading);
    }
}

int main(int argc, char **argv) {
    struct model_options options;
    model_options_read(&options, argc, argv);
    model_descriptors();
    uint8_t *buffer = malloc(options.buffer_bytes);
    if (!buffer) {
        model_fail("no memory");
    }
    int listener = model_listen(&options);
    FD_SET(listener, &reading);
    highest = listener;
    for (;;) {
        fd_set readable = reading, writable = writing;
        int ready = select(highest + 1, &readable, &writable, NULL, NULL);
        if (ready > 0 && FD_ISSET(listener, &readable)) {
            accept_clients(listener);
        }
        for (int fd = 0; fd <= highest && ready > 0; fd++) {
            if (fd != listener && (FD_ISSET(fd, &readable) || FD_ISSET(fd, &writable))) {
                ready--;
                serve(fd, &options, buffer);
            }
        }
    }
}
