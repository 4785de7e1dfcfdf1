/* descriptor.h: whether a plugin's descriptor can be trusted, and what of it the host uses.
 *
 * Nothing is read before what vouches for it: first the magic, then the size, then the version,
 * then the rest. Threads: any. */
#ifndef BERTH_HOST_PLUGIN_DESCRIPTOR_H
#define BERTH_HOST_PLUGIN_DESCRIPTOR_H

#include <stdbool.h>

#include "berth/plugin.h"

struct error;
struct os_library;

#define DESCRIPTOR_STATE_BYTES_MAX (1024u * 1024u) /* of one connection */

/* Copies what both sides know of into *copy, zero-fills the rest, and checks it. `id` is what the
 * file's name says. The error tells what was found and what is needed. */
bool descriptor_read(const struct berth_plugin *found, const char *id, struct berth_plugin *copy,
                     struct error *error);

/* Whether a host of that draft of the ABI (0: of the released one) takes a plugin with that magic
 * and draft. The error says what it was built for and what helps. */
bool descriptor_check_draft(const struct berth_plugin *found, unsigned host_draft,
                            struct error *error);

/* Loads the library and reads its descriptor: whatever runs of it when it is loaded, and its pure
 * entry function, and nothing else. *library is set where it has been loaded, on a failure too. */
bool descriptor_load(const char *path, const char *id, struct os_library **library,
                     struct berth_plugin *copy, struct error *error);

#endif
