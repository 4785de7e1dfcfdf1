/* last_good_config.h: the manifest and the plugins in force, saved for the next host.
 *
 * After a crash the supervisor starts the host with the files on the disk, which may be half
 * edited or incomplete. If that fails, it starts the host with --use-kept: the manifest's text
 * as it was last served, and, for plugins that cannot be opened, the copies that ran. The folder
 * belongs to the supervisor, is private, and is deleted with it. Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_LAST_GOOD_CONFIG_H
#define BERTH_HOST_CONTROL_LAST_GOOD_CONFIG_H

#include <stdbool.h>

struct config_snapshot;
struct error;
struct runtime;
struct os_private;

/* Creates the supervisor's folder. NULL on failure: then nothing is saved. */
struct os_private *last_good_config_create(void);

/* Saves what is served now. `folder` may be NULL: there is no supervisor. */
void last_good_config_write(const char *folder, const struct runtime *runtime);

/* Whether anything was saved. */
bool last_good_config_exists(const char *folder);

/* The saved manifest, as if it came from `path`. NULL: there is none. */
struct config_snapshot *last_good_config_load(const char *folder, const char *path);

#endif
