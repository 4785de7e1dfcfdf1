/* module_config.h: the plugin's own check (`check_config`) of a config that fits its schema.
 *
 * Threads: [control]. */
#ifndef BERTH_HOST_PLUGIN_MODULE_CONFIG_H
#define BERTH_HOST_PLUGIN_MODULE_CONFIG_H

#include <stdbool.h>

struct timed_call_limit;
struct error;
struct module;

/* Of one config; the rest is counted. */
enum { MODULE_CONFIG_ERRORS_MAX = 100 };

/* An error that the plugin reports, at the pointer in the config. */
typedef void module_config_report(void *context, const char *pointer, const char *text);

/* Reports all errors that the plugin finds in the listener's config. With a limit, `check_config`
 * runs on a separate thread; if it has not returned by the deadline, the module is `abandoned`.
 * NULL: on this thread. False: it could not be checked; the error says why. */
bool module_check_config(struct module *module, const char *listener, const char *config_json,
                         const struct timed_call_limit *wait, module_config_report *report,
                         void *context, struct error *error);

#endif
