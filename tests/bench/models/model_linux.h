/* model_linux.h: what the models on Linux share: a listening socket, accepting up to the limit of
 * descriptors, and the echo step of those that are told when a socket is ready.
 *
 * Threads: one for each client. */
#ifndef BERTH_BENCH_MODEL_LINUX_H
#define BERTH_BENCH_MODEL_LINUX_H

#include "model.h"

/* A client of a server that waits until sockets are ready. What a send does not take is kept in
 * `rest`, which exists only while there is something in it; until it is sent, nothing is received.
 */
struct client {
    int fd;
    uint8_t *rest;
    size_t rest_at, rest_size;
    uint64_t echoed;
};

enum client_wants { CLIENT_RECEIVES, CLIENT_SENDS, CLIENT_ENDS };

/* As many descriptors as a process may have, how many that is, and no SIGPIPE. */
int model_descriptors(void);

/* Non-blocking; what is accepted from it has TCP_NODELAY from it. Says that it is ready. */
int model_listen(const struct model_options *options);

/* A new client's socket with those flags, or -1 when there is none now. When descriptors run out
 * the client is refused, and the model says so. */
int model_accept(int listener, int flags);

/* Receives once and sends it back. `buffer` has options->buffer_bytes and may serve all clients. */
enum client_wants client_echo(struct client *client, const struct model_options *options,
                              uint8_t *buffer);

/* Goes on with what was left. */
enum client_wants client_send_rest(struct client *client, const struct model_options *options);

/* Closes, and forgets what was left. */
void client_close(struct client *client);

#endif
