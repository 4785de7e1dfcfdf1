#include "common/utf8.h"

uint32_t utf8_read(const uint8_t *bytes, size_t size, uint32_t *character) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (size == 0) {
        return 0;
    }
    uint8_t first = bytes[0];
    uint32_t length = first < 0x80             ? 1
                      : (first & 0xe0) == 0xc0 ? 2
                      : (first & 0xf0) == 0xe0 ? 3
                      : (first & 0xf8) == 0xf0 ? 4
                                               : 0;
    if (length == 0 || length > size) {
        return 0;
    }
    uint32_t value = length == 1 ? first : first & (0x7fu >> length);
    for (uint32_t i = 1; i < length; i++) {
        if ((bytes[i] & 0xc0) != 0x80) {
            return 0;
        }
        value = value << 6 | (bytes[i] & 0x3fu);
    }
    if (value < least[length] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) {
        return 0;
    }
    *character = value;
    return length;
}

bool utf8_is_control(uint32_t character) {
    return character < 0x20 || (character >= 0x7f && character < 0xa0);
}

bool utf8_is_layout(uint32_t character) {
    return (character >= 0x2028 && character <= 0x202e) ||
           (character >= 0x2066 && character <= 0x2069);
}

bool utf8_is_text(const uint8_t *bytes, size_t size) {
    size_t at = 0;
    while (at < size) {
        uint32_t character = 0;
        uint32_t length = utf8_read(bytes + at, size - at, &character);
        if (length == 0 || utf8_is_control(character)) {
            return false;
        }
        at += length;
    }
    return true;
}
