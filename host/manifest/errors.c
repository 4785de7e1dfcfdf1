#include "manifest/errors.h"

#include <stdio.h>
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

bool errors_add(struct manifest_errors *errors, struct place place, const char *pointer,
                const char *format, va_list arguments) {
    char text[MESSAGE_MAX];
    char message[MESSAGE_MAX];
    struct manifest_error *items =
        alloc_resize(errors->items, (errors->count + 1) * sizeof(*errors->items));
    if (!items) {
        errors->lost = true;
        return false;
    }
    errors->items = items;
    vsnprintf(text, sizeof(text), format, arguments);
    make_printable(message, sizeof(message), text);
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
