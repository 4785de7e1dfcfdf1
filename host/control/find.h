/* find.h: finds the host that a verb of the command line is meant for.
 *
 * --name means the host of that name, whichever manifest it serves. --manifest, or the manifest
 * beside the executable, means the host that serves exactly that manifest, whatever its name is,
 * and no other: also while the manifest has errors, or is deleted. Threads: the main thread. */
#ifndef BERTH_HOST_CONTROL_FIND_H
#define BERTH_HOST_CONTROL_FIND_H

#include <stdbool.h>

#include "base/error.h"
#include "control/identity.h"
#include "manifest/manifest.h"

struct command;
struct os_pipe;

struct found_host {
    uint64_t by_ms;                /* when the search ends */
    struct os_pipe *pipe;          /* the caller's to close; NULL: there is no such host */
    struct identity identity;      /* its pid is 0 if the host does not identify itself */
    int code;                      /* EXIT_FINE; else an exit code, and the reason in: */
    struct manifest_errors broken; /* the errors of the manifest, first, */
    char path[OS_PATH_MAX];        /* which is this one, */
    char
        why[4 * ERROR_MESSAGE_MAX]; /* and what was looked for, where, and what was found instead */
};

/* Finds the host. A host that does not answer before by_ms (engine_now_ms()) is ignored. */
void find_host(const struct command *options, uint64_t by_ms, struct found_host *found);
void found_host_fini(struct found_host *found); /* closes the pipe, too */

#endif
