#include "manifest/errors.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

enum { MESSAGE_MAX = 1024, FIRST_ROOM = 4 };

/* What is said when there is no memory to say it with. */
static char nowhere[] = "";
static char out_of_memory_text[] = "out of memory";
static struct manifest_error out_of_memory_items[] = {
    {.line = 1, .column = 1, .pointer = nowhere, .message = out_of_memory_text},
};

/* A copy that stays on its line: control characters as \u00xx, also the ones behind ASCII. */
static char *copy_printable(const char *text) {
    char *copy = alloc_array(strlen(text) + 1, sizeof("\\u0000") - 1);
    size_t length = 0;
    for (; copy && *text; text++) {
        unsigned char c = (unsigned char)*text;
        unsigned char second = (unsigned char)text[1];
        if (c < 0x20 || c == 0x7f) {
            length += (size_t)sprintf(copy + length, "\\u%04x", (unsigned)c);
        } else if (c == 0xc2 && second >= 0x80 && second <= 0x9f) {
            length += (size_t)sprintf(copy + length, "\\u%04x", (unsigned)second);
            text++;
        } else {
            copy[length++] = (char)c;
        }
    }
    return copy;
}

/* Room for one more: doubled whenever the count reaches a power of two. */
static bool grow(struct manifest_errors *errors) {
    size_t count = errors->count;
    if (count > 0 && (count < FIRST_ROOM || (count & (count - 1)) != 0)) {
        return true;
    }
    size_t room = count < FIRST_ROOM ? FIRST_ROOM : count * 2;
    struct manifest_error *items = alloc_resize(errors->items, room * sizeof(*items));
    if (items) {
        errors->items = items;
    }
    return items != NULL;
}

bool errors_add(struct manifest_errors *errors, struct place place, const char *pointer,
                const char *format, va_list arguments) {
    char message[MESSAGE_MAX];
    if (errors->items == out_of_memory_items || !grow(errors)) {
        return false;
    }
    vsnprintf(message, sizeof(message), format, arguments);
    struct manifest_error error = {
        .line = place.line,
        .column = place.column,
        .pointer = copy_printable(pointer),
        .message = copy_printable(message),
        .order = errors->count,
    };
    if (!error.pointer || !error.message) {
        alloc_free(error.pointer);
        alloc_free(error.message);
        return false;
    }
    errors->items[errors->count++] = error;
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

void errors_out_of_memory(struct manifest_errors *errors) {
    manifest_errors_fini(errors);
    *errors = (struct manifest_errors){.items = out_of_memory_items, .count = 1};
}

static int compare_sizes(size_t left, size_t right) {
    return left < right ? -1 : left > right;
}

static int compare_errors(const void *left_item, const void *right_item) {
    const struct manifest_error *left = left_item;
    const struct manifest_error *right = right_item;
    int line = compare_sizes(left->line, right->line);
    int column = compare_sizes(left->column, right->column);
    return line ? line : column ? column : compare_sizes(left->order, right->order);
}

void errors_sort(struct manifest_errors *errors) {
    if (errors->count > 1) {
        qsort(errors->items, errors->count, sizeof(*errors->items), compare_errors);
    }
}

void manifest_errors_fini(struct manifest_errors *errors) {
    if (errors->items != out_of_memory_items) {
        for (size_t i = 0; i < errors->count; i++) {
            alloc_free(errors->items[i].pointer);
            alloc_free(errors->items[i].message);
        }
        alloc_free(errors->items);
    }
    *errors = (struct manifest_errors){0};
}

int manifest_error_format(const struct manifest_error *error, const char *path, char *text,
                          size_t size) {
    return snprintf(text, size, "%s:%zu:%zu: %s: %s", path, error->line, error->column,
                    error->pointer[0] ? error->pointer : "/", error->message);
}
