/* identity.h: identifies the host that answers on a channel.
 *
 * Hosts are told apart by their names. But a name does not say which manifest the host serves,
 * and all manifests have the same name by default. So a host reports its process and its
 * manifest, too. Threads: any. */
#ifndef BERTH_HOST_CONTROL_IDENTITY_H
#define BERTH_HOST_CONTROL_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>

#include "os/os.h"

struct cJSON;

struct identity {
    char name[64];
    char manifest[OS_PATH_MAX]; /* as os_path_real() spells it */
    uint64_t pid;
    bool stopping; /* it accepts no new connections */
};

/* Adds its members to an object. False without memory. */
bool identity_describe(const struct identity *identity, struct cJSON *object);
/* Reads them back. False: there is no name or no process in it. */
bool identity_read(struct identity *identity, const struct cJSON *object);

/* Asks the host at the other end. False: it does not answer in time, or not as a host does. */
bool identity_ask(struct os_pipe *pipe, int timeout_ms, struct identity *identity);
/* Asks the host that has the name. */
bool identity_of_name(const char *name, int timeout_ms, struct identity *identity);

/* Whether the host serves the manifest at that path. */
bool identity_serves(const struct identity *identity, const char *path);

#endif
