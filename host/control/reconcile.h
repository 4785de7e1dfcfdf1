/* reconcile.h: moves a runtime from what it serves to what it should serve, completely or not at
 * all.
 *
 * The start, a reload and a restart are all a reconcile. Each reconcile that adds anything has a
 * number, from 1. The listeners and plugins that it adds are of the generation with that number.
 * New generations are loaded, verified and opened while the old ones serve, on the same sockets;
 * new addresses are bound. Only when all of that has worked do they take over, and the old ones
 * drain. A failure is reported, and everything stays as before. Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_RECONCILE_H
#define BERTH_HOST_CONTROL_RECONCILE_H

#include <stdbool.h>
#include <stddef.h>

#include "manifest/manifest.h"

struct config_snapshot;
struct runtime;

/* What is wrong: errors in the manifest, found with the help of its plugins, and failures. */
struct reconcile_problems {
    struct manifest_errors manifest; /* exit code 78 */
    struct manifest_errors plugins;  /* that cannot be opened: exit code 1 */
    size_t missing;                  /* how many of those have no file */
    struct manifest_errors failures; /* other failures, without a position: exit code 1 */
};
void reconcile_problems_fini(struct reconcile_problems *problems);

struct reconcile_options {
    const char *const *restart; /* names as in names.h; their plugins are reloaded */
    size_t restart_count;
    bool restart_all;
    bool dry_run; /* only check whether it could be done */
};

/* What was done, or would be done in a dry run. */
struct reconcile_counts {
#define GAUGE(name, label, meaning) unsigned name;
#define COUNTERS_CHANGE
#include "base/counters.def"
    char names[512]; /* of the listeners that change: "; added a, b; removed c"; truncated */
};

/* False: nothing has changed, and the problems say why. On success the runtime uses the config
 * snapshot, too; the caller keeps its own reference. */
bool reconcile_apply(struct runtime *runtime, struct config_snapshot *config_snapshot,
                     const struct reconcile_options *options, struct reconcile_counts *counts,
                     struct reconcile_problems *problems);

#endif
