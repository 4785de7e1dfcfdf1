/* model_windows.h: what the models on Windows share: a listening socket, and the echo step of those
 * that are told when a socket is ready.
 *
 * A model that uses FD_SETSIZE defines it before this header.
 *
 * Threads: one for each client. */
#ifndef BERTH_BENCH_MODEL_WINDOWS_H
#define BERTH_BENCH_MODEL_WINDOWS_H

#include <winsock2.h>

#include "model.h"

/* A client of a server that waits until sockets are ready. What a send does not take is kept in
 * `rest`, which exists only while there is something in it; until it is sent, nothing is received.
 */
struct client {
    SOCKET socket;
    bool finished; /* its end has been told: nobody will tell of what is still to be received */
    uint8_t *rest;
    size_t rest_at, rest_size;
    uint64_t echoed;
};

enum client_wants { CLIENT_RECEIVES, CLIENT_SENDS, CLIENT_ENDS };

/* Starts Winsock and listens; says that it is ready. */
SOCKET model_listen(const struct model_options *options);

/* A new client's socket, with TCP_NODELAY, or INVALID_SOCKET; when sockets run out, it says so. */
SOCKET model_accept(SOCKET listener);

/* With a FIN behind what was sent, then gone. */
void model_close(SOCKET socket);

/* Receives once and sends it back, without blocking. `buffer` may serve all clients. */
enum client_wants client_echo(struct client *client, const struct model_options *options,
                              uint8_t *buffer);

/* For a client that has finished: echoes all that there is, up to its end. */
enum client_wants client_echo_all(struct client *client, const struct model_options *options,
                                  uint8_t *buffer);

/* Goes on with what was left. */
enum client_wants client_send_rest(struct client *client, const struct model_options *options);

/* Closes, and forgets what was left. */
void client_close(struct client *client);

#endif
