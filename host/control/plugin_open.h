/* plugin_open.h: selects the file and the rules that a plugin is opened with. Threads:
 * [control]. */
#ifndef BERTH_HOST_CONTROL_PLUGIN_OPEN_H
#define BERTH_HOST_CONTROL_PLUGIN_OPEN_H

struct error;
struct runtime;
struct manifest;
struct module;

/* Opens the plugin with that id, with the manifest's settings, for that generation. NULL: the
 * error says why. */
struct module *plugin_open(const struct runtime *runtime, const struct manifest *manifest,
                           const char *id, unsigned generation, struct error *error);

#endif
