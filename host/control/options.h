/* options.h: converts the manifest to the options of the lower layers. Threads: any. */
#ifndef BERTH_HOST_CONTROL_OPTIONS_H
#define BERTH_HOST_CONTROL_OPTIONS_H

#include "net/listen/listener.h"
#include "net/run/server.h"

struct runtime;
struct manifest;
struct manifest_listener;
struct module;

/* The options point into the manifest and the module, which must outlive them. */
struct listener_options options_of_listener(const struct manifest_listener *listener,
                                            const struct module *module);
struct server_options options_of_server(const struct manifest *manifest, struct runtime *runtime);

#endif
