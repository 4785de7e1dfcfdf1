/* module_config.h: a config that fits its plugin's schema, asked of the plugin itself
 * (`check_config`).
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

/* What the plugin finds wrong, at the pointer in the config. */
typedef void module_config_report(void *context, const char *pointer, const char *text);

/* Reports all that the plugin finds wrong with the listener's config. With a limit, it is asked
 * on a thread of its own; one that has not returned by then is `abandoned`. NULL: on this thread.
 * False: it could not be checked; the error says why. */
bool module_check_config(struct module *module, const char *listener, const char *config_json,
                         const struct timed_call_limit *wait, module_config_report *report,
                         void *context, struct error *error);

#endif
