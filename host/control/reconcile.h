/* reconcile.h: from what a runtime serves to what it shall serve: all of it or nothing.
 *
 * The start, a reload and a restart are the same thing, a change; each that brings anything has a
 * number, from 1, and what it brings, listeners and plugins, is of the generation with that number.
 * New generations are loaded, verified and opened beside the old ones, on the same sockets; new
 * addresses are bound; only when all of that has worked do they take over, and the old ones drain.
 * What fails on the way is told, and all goes on as before. Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_RECONCILE_H
#define BERTH_HOST_CONTROL_RECONCILE_H

#include <stdbool.h>
#include <stddef.h>

#include "manifest/manifest.h"

struct config_snapshot;
struct runtime;

/* What is wrong: with the manifest in the light of its plugins, or with what it asks for. */
struct reconcile_problems {
    struct manifest_errors manifest; /* exit code 78 */
    struct manifest_errors plugins;  /* that cannot be had: exit code 1 */
    size_t missing;                  /* of them, how many have no file */
    struct manifest_errors failures; /* what else went wrong, without a place: exit code 1 */
};
void reconcile_problems_fini(struct reconcile_problems *problems);

struct reconcile_options {
    const char *const *restart; /* names as in names.h, of what is loaded anew */
    size_t restart_count;
    bool restart_all;
    bool dry_run; /* only look whether it could be done */
};

/* What was, or would be, done. */
struct reconcile_counts {
#define GAUGE(name, label, meaning) unsigned name;
#define COUNTERS_CHANGE
#include "base/counters.def"
    char names[512]; /* of the listeners that are not as before: "; added a, b; removed c"; cut */
};

/* False: nothing has changed, and the problems say why. On success the config snapshot is the
 * runtime's, too; the caller keeps its own use of it. */
bool reconcile_apply(struct runtime *runtime, struct config_snapshot *config_snapshot,
                     const struct reconcile_options *options, struct reconcile_counts *counts,
                     struct reconcile_problems *problems);

#endif
