/* instance.h: what runs: the manifest with its plugins loaded, the server and the listeners.
 *
 * instance_create() does everything up to bound sockets and instance_start() the rest; either all
 * of it works or nothing is left running, and every problem that can be found is reported, one line
 * each. Owner: the verb. Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_INSTANCE_H
#define BERTH_HOST_CONTROL_INSTANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "berth/host.h"
#include "manifest/manifest.h"
#include "os/os.h"

struct listener;
struct module;
struct server;

struct instance {
    const struct manifest *manifest;
    struct berth_host services;
    char config_folder[OS_PATH_MAX]; /* the manifest's */
    struct module **modules;         /* one a plugin, in the order of their first use */
    size_t module_count;
    struct server *server;
    struct listener **listeners; /* as manifest->listeners */
};

/* What is wrong with the manifest only in the light of its plugins, and what is wrong with those.
 */
struct instance_problems {
    struct manifest_errors manifest; /* exit code 78 */
    struct manifest_errors plugins;  /* exit code 1 */
};
void instance_problems_fini(struct instance_problems *problems);

/* Finds and verifies all plugins of the manifest, without calling them. False: see problems. */
bool instance_open_plugins(struct instance *instance, const struct manifest *manifest,
                           const char *plugins_folder, struct instance_problems *problems);

/* Starts the workers, loads the plugins, opens every listener. */
bool instance_create(struct instance *instance, struct error *error);

/* Accepts. */
bool instance_start(struct instance *instance, struct error *error);

/* Stops accepting on all listeners; their connections go on. */
void instance_stop_accepting(struct instance *instance);

uint32_t instance_connections(const struct instance *instance);
uint32_t instance_cut(struct instance *instance); /* ends them; returns how many */

/* Closes everything in reverse order; no connections are left. Legal at any stage. */
void instance_destroy(struct instance *instance);

#endif
