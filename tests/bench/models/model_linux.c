#include "model_linux.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* Given up for a moment to accept a client that must be refused. */
static int spare = -1;

int model_descriptors(void) {
    struct rlimit limit;
    signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        model_fail("getrlimit: %s", strerror(errno));
    }
    limit.rlim_cur = limit.rlim_max < 1 << 20 ? limit.rlim_max : 1 << 20;
    setrlimit(RLIMIT_NOFILE, &limit);
    spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return (int)limit.rlim_cur;
}

int model_listen(const struct model_options *options) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(options->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&address, size) != 0 || listen(fd, options->backlog) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &size) != 0) {
        model_fail("127.0.0.1:%u: %s", options->port, strerror(errno));
    }
    model_ready(ntohs(address.sin_port));
    return fd;
}

int model_accept(int listener, int flags) {
    int fd = accept4(listener, NULL, NULL, flags | SOCK_CLOEXEC);
    if (fd < 0 && (errno == EMFILE || errno == ENFILE)) {
        model_limit("refused: no more descriptors for this process");
        close(spare);
        close(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
        spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
        errno = EMFILE;
    }
    return fd;
}

static enum client_wants after_send(struct client *client, const struct model_options *options,
                                    size_t sent) {
    client->echoed += sent;
    if (client->rest) {
        return CLIENT_SENDS;
    }
    bool ends = options->close_after > 0 && client->echoed >= options->close_after;
    return ends ? CLIENT_ENDS : CLIENT_RECEIVES;
}

static bool keep(struct client *client, const uint8_t *bytes, size_t size) {
    client->rest = malloc(size);
    if (!client->rest) {
        return false;
    }
    memcpy(client->rest, bytes, size);
    client->rest_at = 0;
    client->rest_size = size;
    return true;
}

enum client_wants client_echo(struct client *client, const struct model_options *options,
                              uint8_t *buffer) {
    ssize_t size = recv(client->fd, buffer, options->buffer_bytes, MSG_DONTWAIT);
    if (size <= 0) {
        return size < 0 && errno == EAGAIN ? CLIENT_RECEIVES : CLIENT_ENDS;
    }
    ssize_t sent = send(client->fd, buffer, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN) {
            return CLIENT_ENDS;
        }
        sent = 0;
    }
    if (sent < size && !keep(client, buffer + sent, (size_t)(size - sent))) {
        return CLIENT_ENDS;
    }
    return after_send(client, options, (size_t)sent);
}

enum client_wants client_send_rest(struct client *client, const struct model_options *options) {
    size_t left = client->rest_size - client->rest_at;
    ssize_t sent =
        send(client->fd, client->rest + client->rest_at, left, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) {
        return errno == EAGAIN ? CLIENT_SENDS : CLIENT_ENDS;
    }
    client->rest_at += (size_t)sent;
    if (client->rest_at == client->rest_size) {
        free(client->rest);
        client->rest = NULL;
    }
    return after_send(client, options, (size_t)sent);
}

void client_close(struct client *client) {
    free(client->rest);
    client->rest = NULL;
    close(client->fd);
}
