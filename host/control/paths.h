/* paths.h: the default locations of the manifest and the plugins. Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_PATHS_H
#define BERTH_HOST_CONTROL_PATHS_H

#include <stdbool.h>
#include <stddef.h>

struct error;

/* `given`, or config/berth.json beside the executable. */
bool paths_manifest(char *path, size_t size, const char *given, struct error *error);

/* `given` (relative to the current folder), or `configured` (relative to the executable's). */
bool paths_plugins(char *path, size_t size, const char *given, const char *configured,
                   struct error *error);

/* `configured` (relative to the executable's folder); *folder is NULL if it is not given. */
bool paths_copies(char *path, size_t size, const char *configured, const char **folder,
                  struct error *error);

#endif
