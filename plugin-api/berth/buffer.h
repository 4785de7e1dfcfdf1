/* buffer.h: the host's reference-counted buffers, and slices of them.
 *
 * All bytes that are sent or received are in buffers of the host, so that the kernel
 * never sees memory of a plugin and a plugin can be unloaded at any time. A buffer has a count of
 * references; at zero it returns to its pool. A slice is a range of bytes inside a buffer.
 *
 * Ownership: a slice passed to a callback is borrowed until the callback returns. To keep it,
 * buffer_acquire() its buffer; give the reference back with buffer_release(), or hand it to a send
 * function, which consumes it even when it fails. Splitting a slice is arithmetic on `bytes` and
 * `size` plus one reference for every part. The bytes of a received slice may be changed as long
 * as there is no other reference.
 *
 * The host checks its arguments: a slice is inside its buffer, and the reference that a service
 * consumes or releases is the plugin's own. Anything else is a fault of the plugin. The service
 * then returns BERTH_E_INVALID where it can, and has consumed those references that the plugin does
 * hold. The log names callback, listener and connection. The connection in question (of a buffer or
 * a file: that of the callback) ends with BERTH_CLOSED_FAULT. The plugin holds no reference to a
 * buffer that is only lent, that it has passed to a send function, or whose last reference it has
 * given back. The same holds for files (file.h).
 *
 * A slice whose `reserved` is not 0 asks for something that this host does not know: the service
 * returns BERTH_E_UNSUPPORTED, consumes the references and does nothing else. That is no fault.
 *
 * Alignment: the bytes of buffer_create() begin at a multiple of 16. A received slice may begin at
 * any address: copy numbers out of it, or read them byte by byte.
 *
 * The functions themselves are members of struct berth_host (host.h). */
#ifndef BERTH_BUFFER_H
#define BERTH_BUFFER_H

#include "abi.h"

BERTH_BEGIN_DECLS

struct berth_buffer; /* the host's */

#define BERTH_BUFFER_BYTES_MAX UINT32_C(16777216) /* the most that buffer_create() gives */

/* Never changes its layout. */
struct berth_slice {
    struct berth_buffer *buffer; /* which has `bytes`: a handle, not an address */
    uint8_t *bytes;
    uint32_t size;     /* bytes */
    uint32_t reserved; /* 0; anything else: BERTH_E_UNSUPPORTED */
};

BERTH_END_DECLS

#endif
