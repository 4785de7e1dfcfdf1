/* options.h: from the manifest's words to the options of the parts below. Threads: any. */
#ifndef BERTH_HOST_CONTROL_OPTIONS_H
#define BERTH_HOST_CONTROL_OPTIONS_H

#include "net/listen/listener.h"
#include "net/run/server.h"

struct runtime;
struct manifest;
struct manifest_listener;
struct module;

/* They point into the manifest and the module, which outlive their use. */
struct listener_options options_of_listener(const struct manifest_listener *listener,
                                            const struct module *module);
struct server_options options_of_server(const struct manifest *manifest, struct runtime *runtime);

#endif
