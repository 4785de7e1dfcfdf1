/* load_probe.h: loads a plugin's library in a separate process first.
 *
 * What runs when a library is loaded (its constructors, and the entry function) can crash or hang,
 * and a host that serves clients must not crash or hang with it. So before the host loads a new
 * generation, it starts this program as another process, which loads the same private copy and
 * reports the result. That takes some milliseconds, during which the host keeps serving. Threads:
 * [control]. */
#ifndef BERTH_HOST_PLUGIN_LOAD_PROBE_H
#define BERTH_HOST_PLUGIN_LOAD_PROBE_H

#include <stdbool.h>

struct error;
struct os_copy;

/* The verb of the command line that runs the probe; not documented. */
#define LOAD_PROBE_VERB "try-library"

enum { TRIAL_MS = 10000 }; /* a probe that takes longer hangs */

/* False: it crashed, hung, or is refused; the error says which. */
bool load_probe_run(const struct os_copy *copy, const char *id, struct error *error);

/* In that process: loads the library, and writes what is wrong with it. Returns the exit code. */
_Noreturn void trial_take(const char *path, const char *id);

#endif
