#include "manifest/errors.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

enum { MESSAGE_MAX = 1024 };

bool errors_add(struct manifest_errors *errors, struct place place, const char *pointer,
                const char *format, va_list arguments) {
    char message[MESSAGE_MAX];
    struct manifest_error *items =
        alloc_resize(errors->items, (errors->count + 1) * sizeof(*errors->items));
    if (!items) {
        errors->lost = true;
        return false;
    }
    errors->items = items;
    vsnprintf(message, sizeof(message), format, arguments);
    struct manifest_error error = {
        .line = place.line,
        .column = place.column,
        .pointer = alloc_string(pointer),
        .message = alloc_string(message),
    };
    if (!error.pointer || !error.message) {
        alloc_free(error.pointer);
        alloc_free(error.message);
        errors->lost = true;
        return false;
    }
    items[errors->count++] = error;
    return true;
}

bool errors_addf(struct manifest_errors *errors, struct place place, const char *pointer,
                 const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    bool added = errors_add(errors, place, pointer, format, arguments);
    va_end(arguments);
    return added;
}

static bool stands_before(const struct manifest_error *left, const struct manifest_error *right) {
    return left->line < right->line || (left->line == right->line && left->column < right->column);
}

/* By insertion, which is stable; nobody waits for a list of errors. */
void errors_sort(struct manifest_errors *errors) {
    for (size_t i = 1; i < errors->count; i++) {
        struct manifest_error moving = errors->items[i];
        size_t to = i;
        while (to > 0 && stands_before(&moving, &errors->items[to - 1])) {
            errors->items[to] = errors->items[to - 1];
            to--;
        }
        errors->items[to] = moving;
    }
}

void manifest_errors_fini(struct manifest_errors *errors) {
    for (size_t i = 0; i < errors->count; i++) {
        alloc_free(errors->items[i].pointer);
        alloc_free(errors->items[i].message);
    }
    alloc_free(errors->items);
    *errors = (struct manifest_errors){0};
}

/* The document itself, whose pointer is empty (RFC 6901), is shown as "/". */
int manifest_error_format(const struct manifest_error *error, const char *path, char *text,
                          size_t size) {
    return snprintf(text, size, "%s:%zu:%zu: %s: %s", path, error->line, error->column,
                    error->pointer[0] ? error->pointer : "/", error->message);
}
