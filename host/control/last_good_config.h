/* last_good_config.h: what was in force last, kept for the next host: the manifest and the plugins.
 *
 * After a crash the supervisor starts the host with what lies on the disk, which may be half edited
 * by then, or lack a file. When that fails it starts it with --use-kept: the manifest's text as it
 * was served last, and for plugins that cannot be had the copies that ran. The folder is the
 * supervisor's, private, and goes with it. Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_LAST_GOOD_CONFIG_H
#define BERTH_HOST_CONTROL_LAST_GOOD_CONFIG_H

#include <stdbool.h>

struct config_snapshot;
struct error;
struct runtime;
struct os_private;

/* The supervisor's. NULL where it cannot be made: then nothing is kept. */
struct os_private *last_good_config_create(void);

/* What is served now is what is kept. `folder` may be NULL: nobody supervises. */
void last_good_config_write(const char *folder, const struct runtime *runtime);

/* Whether anything was. */
bool last_good_config_exists(const char *folder);

/* The manifest that was kept, as if it came from `path`. NULL: there is none. */
struct config_snapshot *last_good_config_load(const char *folder, const char *path);

#endif
