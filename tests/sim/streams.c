#include "world.h"

static uint8_t byte_of(unsigned number, enum stream stream, uint64_t at) {
    uint32_t mixed = ((uint32_t)at + number * 7919u + (uint32_t)stream * 104729u) * 2654435761u;
    return (uint8_t)(mixed >> 24);
}

void stream_fill(unsigned number, enum stream stream, uint64_t at, uint8_t *bytes, uint64_t size) {
    for (uint64_t i = 0; i < size; i++) {
        bytes[i] = byte_of(number, stream, at + i);
    }
}

bool stream_has(unsigned number, enum stream stream, uint64_t at, const uint8_t *bytes,
                uint64_t size) {
    for (uint64_t i = 0; i < size; i++) {
        if (bytes[i] != byte_of(number, stream, at + i)) {
            return false;
        }
    }
    return true;
}
