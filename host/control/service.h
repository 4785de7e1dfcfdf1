/* service.h: a host that runs, as the operator's requests see it.
 *
 * Owner: the verb `run`. Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_SERVICE_H
#define BERTH_HOST_CONTROL_SERVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "control/change.h"
#include "control/instance.h"

struct control_options;

struct service {
    struct instance instance;
    const struct control_options *options;
    char manifest_path[OS_PATH_MAX];
    bool stop_wanted;
    bool stop_now; /* without waiting for connections */
    bool stopping; /* nothing is accepted any more */
    uint64_t stop_deadline_ms;
};

/* Reads the manifest again and serves what it says now. Exit code; the problems say what is wrong,
 * and then nothing has changed. */
int service_reload(struct service *service, bool dry_run, struct change_counts *counts,
                   struct change_problems *problems);

/* Loads the plugins of those listeners anew; names are those of listeners or plugins. */
int service_restart(struct service *service, const char *const *names, size_t count, bool all,
                    struct change_counts *counts, struct change_problems *problems);

/* Lets plugins in again that are in quarantine. */
int service_release(struct service *service, const char *const *names, size_t count, bool all,
                    struct change_counts *counts, struct change_problems *problems);

/* The same, told in the log: for signals and --watch. */
int service_reload_and_log(struct service *service, const char *why);
int service_restart_and_log(struct service *service, const char *const *names, size_t count,
                            const char *why);

#endif
