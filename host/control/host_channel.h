/* host_channel.h: the control channel of the host that runs: whether it can be had, and when.
 *
 * A name is one host's. Where another one that serves has it, the host does not start; where that
 * one is stopping, the host serves without a channel and takes it over as soon as it is free.
 * Owner: the verb `run`. Threads: [control]. */
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

/* `wanted`: the manifest's "host.control". False: the name is another host's. A channel that cannot
 * be had for other reasons is told in the log, and done without. */
bool host_channel_open(struct host_channel *own, struct service *service, bool wanted,
                       struct error *error);

/* Answers what was asked; and while `awaited`, called every HOST_CHANNEL_RETRY_MS, tries again. */
void host_channel_look(struct host_channel *own);

void host_channel_close(struct host_channel *own);

#endif
