#include "manifest/errors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"
#include "os/os.h"

enum { MESSAGE_MAX = 1024 };

/* For a line of a terminal or a log. What was cut within a character loses the rest of it. */
static void make_printable(char *to, size_t size, const char *from) {
    size_t left = strlen(from);
    size_t used = 0;
    while (left > 0) {
        struct text_piece piece;
        size_t taken = text_next(from, left, &piece);
        bool whole = piece.bytes[0] == '\\' ||
                     (taken == piece.size && memcmp(piece.bytes, from, taken) == 0);
        if (used + sizeof(piece.bytes) >= size) {
            break;
        }
        memcpy(to + used, piece.bytes, whole ? piece.size : 0);
        used += whole ? piece.size : 0;
        from += taken;
        left -= taken;
    }
    to[used] = '\0';
}

static bool make_room(struct manifest_errors *errors) {
    if (errors->count < errors->capacity) {
        return true;
    }
    size_t capacity = errors->capacity > 0 ? errors->capacity * 2 : 8;
    struct manifest_error *items = alloc_resize(errors->items, capacity * sizeof(*items));
    if (!items) {
        errors->lost = true;
        return false;
    }
    errors->items = items;
    errors->capacity = capacity;
    return true;
}

bool errors_add(struct manifest_errors *errors, struct json_location location, const char *pointer,
                const char *format, va_list arguments) {
    char text[MESSAGE_MAX];
    char message[MESSAGE_MAX];
    if (!make_room(errors)) {
        return false;
    }
    vsnprintf(text, sizeof(text), format, arguments);
    make_printable(message, sizeof(message), text);
    struct manifest_error error = {
        .line = location.line,
        .column = location.column,
        .pointer = alloc_string(pointer),
        .message = alloc_string(message),
        .order = errors->count,
    };
    if (!error.pointer || !error.message) {
        alloc_free(error.pointer);
        alloc_free(error.message);
        errors->lost = true;
        return false;
    }
    errors->items[errors->count++] = error;
    return true;
}

bool errors_addf(struct manifest_errors *errors, struct json_location location, const char *pointer,
                 const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    bool added = errors_add(errors, location, pointer, format, arguments);
    va_end(arguments);
    return added;
}

static int errors_compare_locations(const void *left, const void *right) {
    const struct manifest_error *one = left;
    const struct manifest_error *other = right;
    if (one->line != other->line) {
        return one->line < other->line ? -1 : 1;
    }
    if (one->column != other->column) {
        return one->column < other->column ? -1 : 1;
    }
    return one->order < other->order ? -1 : one->order > other->order;
}

void errors_sort(struct manifest_errors *errors) {
    if (errors->count > 1) {
        qsort(errors->items, errors->count, sizeof(*errors->items), errors_compare_locations);
    }
}

bool manifest_errors_merge(struct manifest_errors *to, struct manifest_errors *from) {
    for (size_t i = 0; i < from->count; i++) {
        if (!make_room(to)) {
            return false;
        }
        struct manifest_error *moved = &to->items[to->count];
        *moved = from->items[i];
        moved->order = to->count++;
        from->items[i] = (struct manifest_error){0};
    }
    manifest_errors_fini(from);
    errors_sort(to);
    return true;
}

void manifest_errors_fini(struct manifest_errors *errors) {
    for (size_t i = 0; i < errors->count; i++) {
        alloc_free(errors->items[i].pointer);
        alloc_free(errors->items[i].message);
    }
    alloc_free(errors->items);
    if (errors->looked_up) {
        json_locations_fini(&errors->looked_up->locations);
        alloc_free(errors->looked_up->path);
        alloc_free(errors->looked_up);
    }
    *errors = (struct manifest_errors){0};
}

/* The document itself, whose pointer is empty (RFC 6901), is shown as "/". */
int manifest_error_format(const struct manifest_error *error, const char *path, char *text,
                          size_t size) {
    char pointer[MESSAGE_MAX];
    char file[OS_PATH_MAX];
    if (error->line == 0) {
        return snprintf(text, size, "%s", error->message);
    }
    make_printable(pointer, sizeof(pointer), error->pointer[0] ? error->pointer : "/");
    text_safe(file, sizeof(file), path);
    return snprintf(text, size, "%s:%zu:%zu: %s: %s", file, error->line, error->column, pointer,
                    error->message);
}
