/* channel.h: the control channel: requests from outside, one JSON text a line, and their answers.
 *
 * Threads of its own talk to the clients, so that it depends on no worker and counts under no limit
 * on connections. What a request asks for is done on the control thread, one after the other.
 * Bounded: CHANNEL_CLIENTS_MAX clients at a time (who is idle longest makes room for the next), one
 * request of each, CHANNEL_REQUEST_BYTES_MAX long. Owner: the verb `run`. Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_CHANNEL_H
#define BERTH_HOST_CONTROL_CHANNEL_H

#include <stddef.h>
#include <stdint.h>

struct channel;
struct error;

enum { CHANNEL_CLIENTS_MAX = 32, CHANNEL_REQUEST_BYTES_MAX = 65536 };

struct channel_request {
    char *text;   /* a line, without its end */
    char *answer; /* allocated by whoever answers, without the end of the line */
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
    /* The control thread has not taken the request for so long: the answer that goes out in place
     * of its own; NULL: it is waited for. */
    char *(*busy)(void *context, const char *text, size_t size, uint64_t waited_ms);
    void *context;
};

struct channel *channel_open(const char *name, const struct channel_user *user,
                             struct error *error);

/* The next request, or NULL. It must be answered. */
struct channel_request *channel_take(struct channel *channel);
/* Takes over the answer; NULL: there was no memory for one. The request is gone afterwards. */
void channel_answer(struct channel *channel, struct channel_request *request, char *answer);

/* Answers that are given go out; requests that wait are told that the host stops. NULL is legal. */
void channel_close(struct channel *channel);

#endif
