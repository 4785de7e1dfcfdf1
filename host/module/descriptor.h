/* descriptor.h: whether a plugin's descriptor can be trusted, and what of it the host uses.
 *
 * Nothing is read before what vouches for it: first the magic, then the size, then the version,
 * then the rest. Threads: any; pure. */
#ifndef BERTH_HOST_MODULE_DESCRIPTOR_H
#define BERTH_HOST_MODULE_DESCRIPTOR_H

#include <stdbool.h>

#include "berth/plugin.h"

struct error;

#define DESCRIPTOR_STATE_BYTES_MAX (1024u * 1024u) /* of one connection */

/* Copies what both sides know of into *copy, zero-fills the rest, and checks it. `id` is what the
 * file's name says. The error tells what was found and what is needed. */
bool descriptor_read(const struct berth_plugin *found, const char *id, struct berth_plugin *copy,
                     struct error *error);

#endif
