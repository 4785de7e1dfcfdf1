/* config_check.h: a listener's "config" against what its plugin says of it.
 *
 * The plugin's schema is compiled for as long as a change or a command takes: it is used when a
 * manifest is read, and not by what serves. Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_CONFIG_CHECK_H
#define BERTH_HOST_CONTROL_CONFIG_CHECK_H

#include <stdbool.h>

struct error;
struct instance;
struct manifest;
struct manifest_errors;
struct manifest_listener;
struct module;
struct schema;

/* The module's schema; NULL where it has none, so that anything goes. False: it is no schema. */
bool config_schema(const struct module *module, struct schema **schema, struct error *error);

/* Adds everything that is wrong. `schema` may be NULL. */
void config_check(const struct module *module, struct schema *schema, const char *manifest_path,
                  const struct manifest_listener *listener, struct manifest_errors *errors);

/* For a manifest that is broken anyway: the plugins are opened for their schemas alone. */
struct config_checker {
    const char *folder;          /* of the plugins */
    struct config_entry *opened; /* utlist */
};

/* Adds everything that is wrong with the listener's "config". Of a plugin that cannot be opened
 * nothing is said. */
void config_checker_check(struct config_checker *checker, const struct manifest *manifest,
                          const struct manifest_listener *listener, struct manifest_errors *errors);
void config_checker_fini(struct config_checker *checker);

#endif
