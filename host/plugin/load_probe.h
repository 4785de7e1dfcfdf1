/* load_probe.h: a plugin's library loaded in a process of its own first.
 *
 * What runs when a library is loaded (its constructors, and the entry function) can crash or hang,
 * and a host that serves must not do so with it. So before it loads a new generation, this program
 * is started once more, does the same with the same private copy, and says what came of it. That
 * costs some milliseconds, while all goes on. Threads: [control]. */
#ifndef BERTH_HOST_PLUGIN_LOAD_PROBE_H
#define BERTH_HOST_PLUGIN_LOAD_PROBE_H

#include <stdbool.h>

struct error;
struct os_copy;

#define LOAD_PROBE_VERB                                                                            \
    "try-library" /* of the command line; for this alone, and told to nobody                       \
                   */

enum { TRIAL_MS = 10000 }; /* what takes longer hangs */

/* False: it crashed, hung, or is refused; the error says so. */
bool load_probe_run(const struct os_copy *copy, const char *id, struct error *error);

/* In that process: loads the library, and writes what is wrong with it. The exit code. */
_Noreturn void trial_take(const char *path, const char *id);

#endif
