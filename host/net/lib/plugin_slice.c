#include "net/lib/plugin_slice.h"

const char plugin_slice_unknown[] = "whose `reserved` is not 0";

bool plugin_slices_ask_more(const struct berth_slice *slices, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        if (slices[i].reserved != 0) {
            return true;
        }
    }
    return false;
}

bool plugin_pieces_ask_more(const struct berth_piece *pieces, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        if (pieces[i].memory.reserved != 0) {
            return true;
        }
    }
    return false;
}

const char *plugin_slice_wrong(const struct berth_slice *given, struct berth_slice *taken) {
    const char *wrong = NULL;
    if (given->reserved != 0) {
        wrong = plugin_slice_unknown;
    } else if (!given->buffer) {
        wrong = given->size > 0 ? "without a buffer" : NULL;
    } else if (!taken->buffer) {
        wrong = "of a buffer of which it holds no reference";
    } else {
        wrong = given->size > 0 ? "that is not inside its buffer" : NULL; /* empty: anywhere */
    }
    if (wrong) {
        buffer_release(taken->buffer);
        *taken = (struct berth_slice){0};
    }
    return wrong;
}

static const char *take_run(const struct berth_piece *given, struct berth_piece *taken) {
    struct berth_file *file = handle_object(given->file);
    if (!handle_plugin_hands_over(given->file)) {
        return "of a file of which it holds no reference";
    }
    if (given->memory.reserved != 0) {
        file_release(file);
        return plugin_slice_unknown;
    }
    bool to_the_end = given->size == UINT64_MAX;
    if (given->offset > INT64_MAX ||
        (!to_the_end && given->size > (uint64_t)INT64_MAX - given->offset)) {
        file_release(file);
        return "that no file can have";
    }
    taken->file = file;
    taken->offset = given->offset;
    taken->size = given->size;
    return NULL;
}

const char *plugin_piece_take(const struct berth_piece *given, struct berth_piece *taken) {
    *taken = (struct berth_piece){0};
    return given->file ? take_run(given, taken) : plugin_slice_take(&given->memory, &taken->memory);
}

void plugin_slices_drop(const struct berth_slice *slices, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        struct berth_slice slice;
        plugin_slice_take(&slices[i], &slice);
        buffer_release(slice.buffer);
    }
}

void plugin_pieces_drop(const struct berth_piece *pieces, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        struct berth_piece piece;
        plugin_piece_take(&pieces[i], &piece);
        buffer_release(piece.memory.buffer);
        file_release(piece.file);
    }
}
