#include "stuffing.h"

#include <string.h>

void stuffing_init(struct stuffing *stuffing, uint32_t body_lines) {
    memset(stuffing, 0, sizeof(*stuffing));
    stuffing->lines_left = body_lines;
}

/* A line has ended: was it the last that is wanted? */
static void end_line(struct stuffing *stuffing) {
    if (!stuffing->in_body) {
        stuffing->in_body = !stuffing->has_content;
    } else if (stuffing->lines_left != STUFFING_ALL_LINES) {
        stuffing->lines_left--;
    }
    stuffing->is_complete = stuffing->in_body && stuffing->lines_left == 0;
    stuffing->in_line = false;
    stuffing->after_cr = false;
    stuffing->has_content = false;
}

uint32_t stuffing_add(struct stuffing *stuffing, const uint8_t *from, uint32_t size, uint8_t *to) {
    uint8_t *at = to;
    for (uint32_t i = 0; i < size && !stuffing->is_complete; i++) {
        uint8_t byte = from[i];
        if (byte == '\n') {
            if (!stuffing->after_cr) {
                *at++ = '\r';
            }
            *at++ = '\n';
            end_line(stuffing);
            continue;
        }
        if (byte == '.' && !stuffing->in_line) {
            *at++ = '.';
        }
        *at++ = byte;
        stuffing->has_content |= byte != '\r' || stuffing->after_cr;
        stuffing->in_line = true;
        stuffing->after_cr = byte == '\r';
    }
    return (uint32_t)(at - to);
}

uint32_t stuffing_end(struct stuffing *stuffing, uint8_t to[STUFFING_END_MAX]) {
    uint8_t *at = to;
    if (stuffing->in_line) {
        if (!stuffing->after_cr) {
            *at++ = '\r';
        }
        *at++ = '\n';
    }
    *at++ = '.';
    *at++ = '\r';
    *at++ = '\n';
    return (uint32_t)(at - to);
}

void octets_add(struct octets *octets, const uint8_t *from, uint32_t size) {
    const uint8_t *at = from;
    const uint8_t *end = from + size;
    octets->count += size;
    while (at < end) {
        const uint8_t *newline = memchr(at, '\n', (size_t)(end - at));
        if (!newline) {
            break;
        }
        bool after_cr = newline > from ? newline[-1] == '\r' : octets->after_cr;
        octets->count += after_cr ? 0 : 1;
        at = newline + 1;
    }
    if (size > 0) {
        octets->in_line = end[-1] != '\n';
        octets->after_cr = end[-1] == '\r';
    }
}

uint64_t octets_end(const struct octets *octets) {
    if (!octets->in_line) {
        return octets->count;
    }
    return octets->count + (octets->after_cr ? 1 : 2);
}
