#include "kv/output.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kv/store.h"

enum { FIRST_BYTES = 4096, KEPT_BYTES = 1048576, SENT_AT_ONCE_MAX = 1048576, FIRST_PARTS = 16 };

static bool has_room(struct output *output, size_t size) {
    size_t needed = output->size + size;
    if (output->has_failed || needed <= output->capacity) {
        return !output->has_failed;
    }
    size_t capacity = output->capacity > 0 ? output->capacity : FIRST_BYTES;
    while (capacity < needed) {
        capacity *= 2;
    }
    uint8_t *grown = realloc(output->bytes, capacity);
    if (!grown) {
        output->has_failed = true;
        return false;
    }
    output->bytes = grown;
    output->capacity = capacity;
    return true;
}

void output_bytes(struct output *output, const void *bytes, size_t size) {
    if (size > 0 && has_room(output, size)) {
        memcpy(output->bytes + output->size, bytes, size);
        output->size += size;
    }
}

void output_text(struct output *output, const char *text) {
    output_bytes(output, text, strlen(text));
}

void output_error(struct output *output, const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    for (char *c = text; *c; c++) {
        *c = *c == '\r' || *c == '\n' ? ' ' : *c; /* an error is one line */
    }
    output_text(output, "-");
    output_text(output, text);
    output_text(output, "\r\n");
}

static void output_number(struct output *output, char kind, long long number) {
    char text[32];
    int length = snprintf(text, sizeof(text), "%c%lld\r\n", kind, number);
    output_bytes(output, text, (size_t)length);
}

void output_integer(struct output *output, int64_t number) {
    output_number(output, ':', number);
}

void output_array(struct output *output, size_t count) {
    output_number(output, '*', (long long)count);
}

void output_null(struct output *output) {
    output_text(output, "$-1\r\n");
}

void output_bulk(struct output *output, const void *bytes, size_t size) {
    output_number(output, '$', (long long)size);
    output_bytes(output, bytes, size);
    output_text(output, "\r\n");
}

static bool has_room_for_part(struct output *output) {
    if (output->part_count < output->part_capacity) {
        return true;
    }
    uint32_t capacity = output->part_capacity > 0 ? output->part_capacity * 2 : FIRST_PARTS;
    struct output_part *grown = realloc(output->parts, capacity * sizeof(*grown));
    if (!grown) {
        output->has_failed = true;
        return false;
    }
    output->parts = grown;
    output->part_capacity = capacity;
    return true;
}

void output_value(struct output *output, const struct berth_host *host, const struct value *value) {
    if (!value->buffer) {
        output_bulk(output, value->bytes, value->size);
        return;
    }
    output_number(output, '$', value->size);
    if (!output->has_failed && has_room_for_part(output)) {
        host->buffer_acquire(value->buffer);
        output->parts[output->part_count++] = (struct output_part){
            output->size, {.buffer = value->buffer, .bytes = value->bytes, .size = value->size}};
    }
    output_text(output, "\r\n");
}

/* The bytes up to `end`, in as many sends as their sizes want. */
static bool send_bytes(const struct output *output, struct berth_conn *conn, size_t *sent,
                       size_t end) {
    while (*sent < end) {
        size_t size = end - *sent < SENT_AT_ONCE_MAX ? end - *sent : SENT_AT_ONCE_MAX;
        if (conn->host->send(conn, output->bytes + *sent, (uint32_t)size) != BERTH_OK) {
            return false;
        }
        *sent += size;
    }
    return true;
}

bool output_flush(struct output *output, struct berth_conn *conn) {
    const struct berth_host *host = conn->host;
    bool is_open = !output->has_failed;
    size_t sent = 0;
    for (uint32_t i = 0; i < output->part_count; i++) {
        struct output_part *part = &output->parts[i];
        is_open = is_open && send_bytes(output, conn, &sent, part->at);
        if (is_open) {
            is_open = host->send_slices(conn, &part->slice, 1) == BERTH_OK;
        } else {
            host->buffer_release(part->slice.buffer);
        }
    }
    is_open = is_open && send_bytes(output, conn, &sent, output->size);
    output->size = 0;
    output->part_count = 0;
    output->has_failed = false;
    if (output->capacity > KEPT_BYTES) {
        output_fini(output);
    }
    return is_open;
}

void output_fini(struct output *output) {
    free(output->bytes);
    free(output->parts);
    memset(output, 0, sizeof(*output));
}
