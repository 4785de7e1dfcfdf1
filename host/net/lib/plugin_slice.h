/* plugin_slice.h: checks what plugins hand over before the host uses it.
 *
 * A slice must be inside its buffer, a run of a file within the largest size of a file, and the
 * reference that goes with either must be the plugin's. The reference is taken over here, whatever
 * the result of the call is.
 *
 * Threads: any. */
#ifndef BERTH_HOST_NET_LIB_PLUGIN_SLICE_H
#define BERTH_HOST_NET_LIB_PLUGIN_SLICE_H

#include <stdbool.h>
#include <stdint.h>

#include "berth/file.h"
#include "net/lib/buffer.h"
#include "net/lib/file.h"

/* Takes over what was given: *taken is a slice with a reference of the host's. On an error *taken
 * is empty, nothing needs to be released, and the error is returned, as words that continue "a
 * slice". NULL: it is valid. */
const char *plugin_slice_wrong(const struct berth_slice *given, struct berth_slice *taken);

/* The error for one that asks for what this host does not support: that is no fault of the
 * plugin. */
extern const char plugin_slice_unknown[];

/* Whether one of several asks for that: checked before the first of them is taken. */
bool plugin_slices_ask_more(const struct berth_slice *slices, uint32_t count);
bool plugin_pieces_ask_more(const struct berth_piece *pieces, uint32_t count);

static inline const char *plugin_slice_take(const struct berth_slice *given,
                                            struct berth_slice *taken) {
    struct berth_buffer *buffer = handle_object(given->buffer);
    *taken = *given;
    taken->buffer = NULL;
    if (buffer && handle_plugin_hands_over(given->buffer)) {
        uint64_t offset = (uintptr_t)given->bytes - (uintptr_t)buffer->bytes;
        taken->buffer = buffer;
        /* The sum cannot overflow: both are far below the range of 64 bits. */
        if (given->reserved == 0 && offset <= buffer->capacity &&
            offset + given->size <= buffer->capacity) {
            return NULL;
        }
    }
    return plugin_slice_wrong(given, taken);
}

/* The same for a piece. The file of *taken is the host's own. */
const char *plugin_piece_take(const struct berth_piece *given, struct berth_piece *taken);

/* Takes over the references of a call that is refused as a whole, and releases them. */
void plugin_slices_drop(const struct berth_slice *slices, uint32_t count);
void plugin_pieces_drop(const struct berth_piece *pieces, uint32_t count);

#endif
