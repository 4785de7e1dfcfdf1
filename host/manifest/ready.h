/* ready.h: the ready file: what the host serves, as JSON that mirrors the manifest.
 *
 * Written once every listener accepts, so that the program that starts the host can read where it
 * listens. Owner and threads: [control]. */
#ifndef BERTH_HOST_MANIFEST_READY_H
#define BERTH_HOST_MANIFEST_READY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ready_listener {
    const char *name;
    const char *plugin;
    const char *version; /* of the plugin */
    const char *accept;  /* "connect", "data" */
    char **addresses;    /* with the actual ports */
    size_t address_count;
};

struct ready {
    uint64_t pid;
    const char *name;    /* of the runtime */
    const char *version; /* of the host */
    const char *engine;
    const char *socket_reuse; /* how sockets are reused, or "off: …" and why not */
    const struct ready_listener *listeners;
    size_t listener_count;
};

/* The text, to be freed with alloc_free(); NULL: no memory. */
char *ready_format(const struct ready *ready);

/* The process that has written a ready file. */
struct ready_author {
    char name[64];
    uint64_t pid;
};
/* False: the text is not that of a ready file. */
bool ready_read(const char *text, size_t size, struct ready_author *author);

#endif
