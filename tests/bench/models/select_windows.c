/* Echo with select, one thread, non-blocking sockets. A set on Windows is an array of sockets,
 * whose size a program may choose; every call copies and walks it. A client beyond it is refused.
 */
#define FD_SETSIZE 4096
#include "model_windows.h"

#include <stdlib.h>

static struct client clients[FD_SETSIZE];
static unsigned count;
static fd_set readable, writable;

static void accept_client(SOCKET listener) {
    u_long one = 1;
    SOCKET socket = model_accept(listener);
    if (socket == INVALID_SOCKET) {
        return;
    }
    if (count == FD_SETSIZE - 1) { /* one place is the listener's */
        model_limit("refused: select has room for %d sockets", FD_SETSIZE);
        model_close(socket);
        return;
    }
    ioctlsocket(socket, FIONBIO, &one);
    clients[count++] = (struct client){.socket = socket};
}

static void prepare(SOCKET listener) {
    FD_ZERO(&readable);
    FD_ZERO(&writable);
    FD_SET(listener, &readable);
    for (unsigned i = 0; i < count; i++) { /* FD_SET would look for each in all before it */
        fd_set *set = clients[i].rest ? &writable : &readable;
        set->fd_array[set->fd_count++] = clients[i].socket;
    }
}

/* The sets come back with the ready ones only, in the order in which they were given. */
static void serve(const struct model_options *options, uint8_t *buffer, unsigned first) {
    unsigned next_readable = first, next_writable = 0, kept = 0, before = count;
    for (unsigned i = 0; i < before; i++) {
        struct client *client = &clients[i];
        fd_set *set = client->rest ? &writable : &readable;
        unsigned *next = client->rest ? &next_writable : &next_readable;
        enum client_wants wants = CLIENT_RECEIVES;
        if (*next < set->fd_count && set->fd_array[*next] == client->socket) {
            ++*next;
            wants = client->rest ? client_send_rest(client, options)
                                 : client_echo(client, options, buffer);
        }
        if (wants == CLIENT_ENDS) {
            client_close(client);
        } else {
            clients[kept++] = *client;
        }
    }
    count = kept;
}

int main(int argc, char **argv) {
    struct model_options options;
    model_options_read(&options, argc, argv);
    uint8_t *buffer = malloc(options.buffer_bytes);
    if (!buffer) {
        model_fail("no memory");
    }
    SOCKET listener = model_listen(&options);
    for (;;) {
        prepare(listener);
        if (select(0, &readable, &writable, NULL, NULL) == SOCKET_ERROR) {
            model_fail("select: error %d", WSAGetLastError());
        }
        bool somebody = readable.fd_count > 0 && readable.fd_array[0] == listener;
        serve(&options, buffer, somebody ? 1 : 0);
        if (somebody) {
            accept_client(listener);
        }
    }
}
