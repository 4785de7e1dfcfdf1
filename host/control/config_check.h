/* config_check.h: a listener's "config" against what its plugin says of it.
 *
 * The plugin's schema is compiled for as long as a change or a command takes: it is used when a
 * manifest is read, and not by what serves. Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_CONFIG_CHECK_H
#define BERTH_HOST_CONTROL_CONFIG_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "os/os.h"

struct timed_call_limit;
struct error;
struct runtime;
struct manifest;
struct manifest_errors;
struct manifest_listener;
struct module;
struct schema;

/* The module's schema; NULL where it has none, so that anything goes. False: it is no schema. */
bool config_schema(const struct module *module, struct schema **schema, struct error *error);

/* Of whom, and how, it is asked. */
struct config_question {
    struct module *module;
    struct schema *schema;     /* or NULL */
    const char *config_folder; /* of relative paths in it */
    const char *manifest_path;
    const struct timed_call_limit *limit; /* of `check_config`; NULL: none */
};

/* Adds everything that is wrong with the listener's "config" to `errors`: what the schema says, and
 * where that is nothing, what the plugin says. `failures` gets why it could not be asked. */
void config_check(const struct config_question *question, const struct manifest_listener *listener,
                  struct manifest_errors *errors, struct manifest_errors *failures);

/* For a manifest that is broken anyway: the plugins are opened for their schemas alone. */
struct config_checker {
    const char *folder;          /* of the plugins */
    struct config_entry *opened; /* utlist */
    char config_folder[OS_PATH_MAX];
};

/* Adds everything that is wrong with the listener's "config". Of a plugin that cannot be opened
 * nothing is said. */
void config_checker_check(struct config_checker *checker, const struct manifest *manifest,
                          const struct manifest_listener *listener, struct manifest_errors *errors);
void config_checker_fini(struct config_checker *checker);

#endif
