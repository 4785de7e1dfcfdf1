/* plugin_open.h: from which file a plugin is opened, and by which rules. Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_PLUGIN_OPEN_H
#define BERTH_HOST_CONTROL_PLUGIN_OPEN_H

struct error;
struct runtime;
struct manifest;
struct module;

/* The plugin of that id, as the manifest wants it, for that generation. NULL: the error says why.
 */
struct module *plugin_open(const struct runtime *runtime, const struct manifest *manifest,
                           const char *id, unsigned generation, struct error *error);

#endif
