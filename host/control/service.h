/* service.h: the running host, and the operator's requests to it.
 *
 * Owner: the verb `run`. Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_SERVICE_H
#define BERTH_HOST_CONTROL_SERVICE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "control/ready_file.h"
#include "control/reconcile.h"
#include "control/runtime.h"

struct command;
struct identity;

struct service {
    struct runtime runtime;
    const struct command *options;
    char manifest_path[OS_PATH_MAX];
    char manifest_real[OS_PATH_MAX]; /* the same, as os_path_real() spells it */
    struct ready_file ready_file;
    bool stop_wanted;
    bool stop_now;        /* without waiting for connections */
    atomic_bool stopping; /* accepts no more; read by the channel's threads, too */
    uint64_t stop_deadline_ms;
};

/* The identity of the host, for clients of the channel. [any] */
struct identity service_identity(const struct service *service);

/* Configures the log from the manifest. */
void service_configure_log(const struct manifest *manifest);

/* Logs the outcome of a reconcile. `what`: "reload"; `why`: what requested it. */
void service_log_outcome(const struct service *service, int code, const char *what, const char *why,
                         const struct reconcile_counts *counts,
                         const struct reconcile_problems *problems);

/* Reads the manifest again and serves it. Returns the exit code; on failure the problems say
 * what is wrong, and nothing has changed. */
int service_reload(struct service *service, bool dry_run, struct reconcile_counts *counts,
                   struct reconcile_problems *problems);

/* Reloads the plugins of those listeners; names as in names.h. */
int service_restart(struct service *service, const char *const *names, size_t count, bool all,
                    struct reconcile_counts *counts, struct reconcile_problems *problems);

/* Releases plugins from quarantine. */
int service_release(struct service *service, const char *const *names, size_t count, bool all,
                    struct reconcile_counts *counts, struct reconcile_problems *problems);

/* The same, with the outcome logged: for signals and --watch. */
int service_reload_and_log(struct service *service, const char *why);
int service_restart_and_log(struct service *service, const char *const *names, size_t count,
                            const char *why);

#endif
