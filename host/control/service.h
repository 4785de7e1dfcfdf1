/* service.h: a host that runs, as the operator's requests see it.
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
    atomic_bool stopping; /* nothing is accepted any more; read by the channel's threads, too */
    uint64_t stop_deadline_ms;
};

/* Who it is, for those who ask. [any] */
struct identity service_identity(const struct service *service);

/* The log as the manifest wants it. */
void service_configure_log(const struct manifest *manifest);

/* Logs how a change has ended. `what`: "reload"; `why`: who wanted it. */
void service_log_outcome(const struct service *service, int code, const char *what, const char *why,
                         const struct reconcile_counts *counts,
                         const struct reconcile_problems *problems);

/* Reads the manifest again and serves what it says now. Exit code; the problems say what is wrong,
 * and then nothing has changed. */
int service_reload(struct service *service, bool dry_run, struct reconcile_counts *counts,
                   struct reconcile_problems *problems);

/* Loads the plugins of those listeners anew; names as in names.h. */
int service_restart(struct service *service, const char *const *names, size_t count, bool all,
                    struct reconcile_counts *counts, struct reconcile_problems *problems);

/* Lets plugins in again that are in quarantine. */
int service_release(struct service *service, const char *const *names, size_t count, bool all,
                    struct reconcile_counts *counts, struct reconcile_problems *problems);

/* The same, told in the log: for signals and --watch. */
int service_reload_and_log(struct service *service, const char *why);
int service_restart_and_log(struct service *service, const char *const *names, size_t count,
                            const char *why);

#endif
