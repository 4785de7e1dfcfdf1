/* descriptor.h: checks a plugin's descriptor, and copies what the host uses of it.
 *
 * No field is read before the fields that prove it is there: first the magic, then the size, then
 * the version, then the rest. Threads: any. */
#ifndef BERTH_HOST_PLUGIN_DESCRIPTOR_H
#define BERTH_HOST_PLUGIN_DESCRIPTOR_H

#include <stdbool.h>

#include "berth/plugin.h"

struct error;
struct os_library;

#define DESCRIPTOR_STATE_BYTES_MAX (1024u * 1024u) /* of one connection */

/* Copies the fields that both sides define into *copy, zero-fills the rest, and checks it. `id` is
 * the id in the file's name. The error states what was found and what is needed. */
bool descriptor_read(const struct berth_plugin *found, const char *id, struct berth_plugin *copy,
                     struct error *error);

/* Whether a host of that draft of the ABI (0: of the released one) accepts a plugin with that magic
 * and draft. The error states what it was built for and what to do. */
bool descriptor_check_draft(const struct berth_plugin *found, unsigned host_draft,
                            struct error *error);

/* Loads the library and reads its descriptor. Of the library's code only its constructors and its
 * pure entry function run. *library is set if the library has been loaded, on a failure too. */
bool descriptor_load(const char *path, const char *id, struct os_library **library,
                     struct berth_plugin *copy, struct error *error);

#endif
