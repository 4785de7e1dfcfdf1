#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void error_format(struct error *error, enum error_kind kind, const char *format,
                         va_list arguments) {
    if (error) {
        error->kind = kind;
        vsnprintf(error->message, sizeof(error->message), format, arguments);
    }
}

bool error_set(struct error *error, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    error_format(error, ERROR_KIND_OTHER, format, arguments);
    va_end(arguments);
    return false;
}

bool error_set_kind(struct error *error, enum error_kind kind, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    error_format(error, kind, format, arguments);
    va_end(arguments);
    return false;
}

bool error_prefix(struct error *error, const char *format, ...) {
    if (!error) {
        return false;
    }
    char tail[ERROR_MESSAGE_MAX];
    memcpy(tail, error->message, sizeof(tail));
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(error->message, sizeof(error->message), format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof(error->message)) {
        return false; /* the prefix alone fills it */
    }
    size_t room = sizeof(error->message) - (size_t)length - 1;
    size_t size = strlen(tail);
    if (size > room) {
        size = room;
    }
    memcpy(error->message + length, tail, size);
    error->message[(size_t)length + size] = '\0';
    return false;
}
