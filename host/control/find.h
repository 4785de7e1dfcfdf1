/* find.h: the host that a verb of the command line is meant for.
 *
 * --name means the host of that name, whatever it serves. --manifest, or the manifest beside the
 * executable, means the host that serves that very manifest, whatever its name is, and none if
 * there is none: also while the manifest is broken, or gone. Threads: the main thread. */
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
    struct identity identity;      /* its pid is 0 where the host does not say who it is */
    int code;                      /* EXIT_FINE; else an exit code, and why: */
    struct manifest_errors broken; /* what is wrong with the manifest, first, */
    char path[OS_PATH_MAX];        /* which is this one, */
    char
        why[4 * ERROR_MESSAGE_MAX]; /* and what was looked for, where, and what was found instead */
};

/* What does not answer by then (engine_now_ms()) is not asked any more. */
void find_host(const struct command *options, uint64_t by_ms, struct found_host *found);
void found_host_fini(struct found_host *found); /* closes the pipe, too */

#endif
