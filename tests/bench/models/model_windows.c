#include "model_windows.h"

#include <stdlib.h>
#include <string.h>

#include <ws2tcpip.h>

SOCKET model_listen(const struct model_options *options) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(options->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int size = sizeof(address);
    WSADATA data;
    if (WSAStartup(MAKEWORD(2, 2), &data) != 0) {
        model_fail("WSAStartup failed");
    }
    SOCKET listener = WSASocketW(AF_INET, SOCK_STREAM, 0, NULL, 0, WSA_FLAG_OVERLAPPED);
    if (bind(listener, (struct sockaddr *)&address, size) != 0 ||
        listen(listener, options->backlog) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) != 0) {
        model_fail("127.0.0.1:%u: error %d", options->port, WSAGetLastError());
    }
    model_ready(ntohs(address.sin_port));
    return listener;
}

SOCKET model_accept(SOCKET listener) {
    BOOL one = TRUE;
    SOCKET socket = accept(listener, NULL, NULL);
    if (socket == INVALID_SOCKET) {
        int code = WSAGetLastError();
        if (code == WSAEMFILE || code == WSAENOBUFS) {
            model_limit("refused: no more sockets for this process, error %d", code);
        }
        return INVALID_SOCKET;
    }
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, (const char *)&one, sizeof(one));
    return socket;
}

void model_close(SOCKET socket) {
    shutdown(socket, SD_SEND);
    closesocket(socket);
}

static enum client_wants after_all(const struct client *client,
                                   const struct model_options *options) {
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
    int size = recv(client->socket, (char *)buffer, (int)options->buffer_bytes, 0);
    if (size <= 0) {
        return size < 0 && WSAGetLastError() == WSAEWOULDBLOCK ? CLIENT_RECEIVES : CLIENT_ENDS;
    }
    int sent = send(client->socket, (const char *)buffer, size, 0);
    if (sent < 0) {
        if (WSAGetLastError() != WSAEWOULDBLOCK) {
            return CLIENT_ENDS;
        }
        sent = 0;
    }
    client->echoed += (uint64_t)sent;
    if (sent == size) {
        return after_all(client, options);
    }
    return keep(client, buffer + sent, (size_t)(size - sent)) ? client_send_rest(client, options)
                                                              : CLIENT_ENDS;
}

enum client_wants client_echo_all(struct client *client, const struct model_options *options,
                                  uint8_t *buffer) {
    while (!client->rest) {
        uint64_t before = client->echoed;
        enum client_wants wants = client_echo(client, options, buffer);
        if (wants == CLIENT_RECEIVES && client->echoed == before && !client->rest) {
            return CLIENT_ENDS;
        }
        if (wants != CLIENT_RECEIVES) {
            return wants;
        }
    }
    return CLIENT_SENDS;
}

/* Until the system takes nothing: only then will it tell when there is room again. */
enum client_wants client_send_rest(struct client *client, const struct model_options *options) {
    while (client->rest_at < client->rest_size) {
        int left = (int)(client->rest_size - client->rest_at);
        int sent = send(client->socket, (const char *)client->rest + client->rest_at, left, 0);
        if (sent < 0) {
            return WSAGetLastError() == WSAEWOULDBLOCK ? CLIENT_SENDS : CLIENT_ENDS;
        }
        client->rest_at += (size_t)sent;
        client->echoed += (uint64_t)sent;
    }
    free(client->rest);
    client->rest = NULL;
    return after_all(client, options);
}

void client_close(struct client *client) {
    free(client->rest);
    client->rest = NULL;
    model_close(client->socket);
}
