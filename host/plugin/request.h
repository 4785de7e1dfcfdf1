/* request.h: structs that a plugin fills for a call (abi.h).
 *
 * Threads: any. */
#ifndef BERTH_HOST_PLUGIN_REQUEST_H
#define BERTH_HOST_PLUGIN_REQUEST_H

#include <stddef.h>
#include <stdint.h>

/* Copies the fields that both sides define into the `size` bytes at `whole`, which the caller has
 * zeroed. BERTH_E_UNSUPPORTED: the plugin uses a field that the host does not define, as a byte
 * after that is not zero; BERTH_E_INVALID: there is no request, or its struct_size is not valid.
 * The fields are copied on a failure, too, unless it is BERTH_E_INVALID. */
int32_t request_read(void *whole, size_t size, const void *given);

#endif
