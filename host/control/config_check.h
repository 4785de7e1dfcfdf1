/* config_check.h: checks a listener's "config" against the schema and the code of its plugin.
 *
 * The plugin's schema is compiled for the duration of a reconcile or a command: it is needed
 * when a manifest is read, and not while the listener serves. Threads: [control]. */
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

/* The module's schema; NULL if it has none: then any config is valid. False: it is not a valid
 * schema. */
bool config_schema(const struct module *module, struct schema **schema, struct error *error);

/* What a config is checked with. */
struct config_question {
    struct module *module;
    struct schema *schema;     /* or NULL */
    const char *config_folder; /* base of relative paths in the config */
    const char *manifest_path;
    const struct timed_call_limit *limit; /* time limit of `check_config`; NULL: none */
};

/* Adds all errors of the listener's "config" to `errors`: those the schema finds, and if there
 * are none, those the plugin finds. `failures` gets the reason if the check could not be made. */
void config_check(const struct config_question *question, const struct manifest_listener *listener,
                  struct manifest_errors *errors, struct manifest_errors *failures);

/* For a manifest that has errors already: opens the plugins for their schemas alone. */
struct config_checker {
    const char *folder;          /* of the plugins' libraries */
    struct config_entry *opened; /* utlist */
    char config_folder[OS_PATH_MAX];
};

/* Adds all errors of the listener's "config". A plugin that cannot be opened is skipped. */
void config_checker_check(struct config_checker *checker, const struct manifest *manifest,
                          const struct manifest_listener *listener, struct manifest_errors *errors);
void config_checker_fini(struct config_checker *checker);

#endif
