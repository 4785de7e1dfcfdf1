/* host_channel.h: the control channel of the running host: whether and when it can be opened.
 *
 * A name belongs to one host. If another host that serves has it, this host does not start. If
 * that host is stopping, this one serves without a channel and opens it as soon as the name is
 * free. Owner: the verb `run`. Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_HOST_CHANNEL_H
#define BERTH_HOST_CONTROL_HOST_CHANNEL_H

#include <stdbool.h>

struct channel;
struct error;
struct service;

enum { HOST_CHANNEL_RETRY_MS = 200 };

struct host_channel {
    struct service *service;
    struct channel *channel; /* NULL: there is none, or not yet */
    bool awaited;            /* until an older host is gone */
};

/* `wanted`: the manifest's "host.control". False: the name is another host's. If the channel
 * cannot be opened for other reasons, this is logged, and the host runs without it. */
bool host_channel_open(struct host_channel *own, struct service *service, bool wanted,
                       struct error *error);

/* Answers the waiting requests. While `awaited`, called every HOST_CHANNEL_RETRY_MS, it tries to
 * open the channel again. */
void host_channel_look(struct host_channel *own);

void host_channel_close(struct host_channel *own);

#endif
