/* channel.h: the control channel: requests from outside, one JSON text a line, and their
 * answers.
 *
 * The channel has its own threads for its clients, so that it depends on no worker and counts
 * under no limit on connections. Requests are carried out on the control thread, one after the
 * other. Bounded: CHANNEL_CLIENTS_MAX clients at a time (the client that is idle longest is
 * disconnected for a new one), one request of each, CHANNEL_REQUEST_BYTES_MAX long. Owner: the
 * verb `run`. Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_CHANNEL_H
#define BERTH_HOST_CONTROL_CHANNEL_H

#include <stddef.h>
#include <stdint.h>

struct channel;
struct error;

enum { CHANNEL_CLIENTS_MAX = 32, CHANNEL_REQUEST_BYTES_MAX = 65536 };

struct channel_request {
    char *text;   /* a line, without its end */
    char *answer; /* allocated by the code that answers; without the line end */
    size_t size;  /* of the text, which is terminated, and may hold NULs */
    struct channel_request *prev;
    struct channel_request *next;
    int answered;
};

/* What the channel needs of its host; all of it runs on the channel's threads. */
struct channel_user {
    void (*wake)(void); /* a request has come */
    /* The answer to a request that the control thread is not needed for; else NULL. */
    char *(*answer_at_once)(void *context, const char *text, size_t size);
    /* The control thread has not taken the request for `waited_ms`: the answer that is sent
     * instead of its own; NULL: go on waiting. */
    char *(*busy)(void *context, const char *text, size_t size, uint64_t waited_ms);
    void *context;
};

struct channel *channel_open(const char *name, const struct channel_user *user,
                             struct error *error);

/* The next request, or NULL. It must be answered. */
struct channel_request *channel_take(struct channel *channel);
/* Takes over the answer; NULL: there was no memory for one. The request is gone afterwards. */
void channel_answer(struct channel *channel, struct channel_request *request, char *answer);

/* Sends the answers that are ready. Waiting requests are answered that the host is stopping.
 * NULL is legal. */
void channel_close(struct channel *channel);

#endif
