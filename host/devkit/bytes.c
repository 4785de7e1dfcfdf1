#include "devkit/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"

bool bytes_add(struct bytes *bytes, const void *data, size_t size) {
    if (bytes->size + size + 1 > bytes->capacity) {
        size_t capacity = (bytes->size + size + 1) * 2;
        uint8_t *grown = alloc_resize(bytes->data, capacity);
        if (!grown) {
            return false;
        }
        bytes->data = grown;
        bytes->capacity = capacity;
    }
    if (size > 0) {
        memcpy(bytes->data + bytes->size, data, size);
    }
    bytes->size += size;
    bytes->data[bytes->size] = '\0';
    return true;
}

bool bytes_add_text(struct bytes *bytes, const char *text) {
    return bytes_add(bytes, text, strlen(text));
}

bool bytes_add_format(struct bytes *bytes, const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    size_t size = length < 0 ? 0 : (size_t)length;
    return bytes_add(bytes, text, size < sizeof(text) ? size : sizeof(text) - 1);
}

void bytes_drop_front(struct bytes *bytes, size_t size) {
    if (size > 0 && size <= bytes->size) {
        memmove(bytes->data, bytes->data + size, bytes->size - size + 1);
        bytes->size -= size;
    }
}

void bytes_free(struct bytes *bytes) {
    alloc_free(bytes->data);
    *bytes = (struct bytes){0};
}

bool bytes_add_escaped(struct bytes *bytes, const uint8_t *data, size_t size, bool braces) {
    bool good = bytes_add(bytes, "", 0);
    for (size_t i = 0; i < size && good; i++) {
        uint8_t byte = data[i];
        bool at_edge = i == 0 || i + 1 == size; /* spaces at the edges are easily lost */
        if (byte == '\r') {
            good = bytes_add(bytes, "\\r", 2);
        } else if (byte == '\n') {
            good = bytes_add(bytes, "\\n", 2);
        } else if (byte == '\t') {
            good = bytes_add(bytes, "\\t", 2);
        } else if (byte == '\\' || (braces && byte == '{')) {
            good = bytes_add(bytes, "\\", 1) && bytes_add(bytes, &byte, 1);
        } else if (byte < ' ' || byte > '~' || (byte == ' ' && at_edge)) {
            good = bytes_add_format(bytes, "\\x%02x", byte);
        } else {
            good = bytes_add(bytes, &byte, 1);
        }
    }
    return good;
}

bool bytes_add_json(struct bytes *bytes, const char *text) {
    bool good = bytes_add(bytes, "\"", 1);
    size_t left = strlen(text);
    while (left > 0 && good) {
        struct text_piece piece;
        size_t used = text_next(text, left, &piece);
        bool quoted = *text == '"' || *text == '\\';
        good = (!quoted || bytes_add(bytes, "\\", 1)) && bytes_add(bytes, piece.bytes, piece.size);
        text += used;
        left -= used;
    }
    return good && bytes_add(bytes, "\"", 1);
}
