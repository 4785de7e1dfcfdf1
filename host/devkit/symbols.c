#include "devkit/symbols.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "os/os.h"

/* ELF, 64 bits, least significant byte first; offsets as in the specification. */
enum {
    FILE_BYTES_MAX = 256 * 1024 * 1024,
    HEADER_BYTES = 64,
    SECTION_BYTES = 64,
    SYMBOL_BYTES = 24,
    SECTION_DYNAMIC_SYMBOLS = 11,
    BINDING_UNIQUE = 10,
};

struct image {
    const uint8_t *bytes;
    size_t size;
};

static bool symbol_is_inside(const struct image *image, uint64_t offset, uint64_t size) {
    return offset <= image->size && size <= image->size - offset;
}

static uint64_t symbol_number(const uint8_t *bytes, unsigned size) {
    uint64_t value = 0;
    while (size-- > 0) {
        value = value << 8 | bytes[size];
    }
    return value;
}

static const uint8_t *symbol_section(const struct image *image, uint64_t index) {
    uint64_t at = symbol_number(image->bytes + 0x28, 8) + index * SECTION_BYTES;
    uint64_t count = symbol_number(image->bytes + 0x3C, 2);
    return index < count && symbol_is_inside(image, at, SECTION_BYTES) ? image->bytes + at : NULL;
}

/* Searches one symbol table. */
static bool find_in(const struct image *image, const uint8_t *table, char *name, size_t size) {
    uint64_t at = symbol_number(table + 0x18, 8);
    uint64_t bytes = symbol_number(table + 0x20, 8);
    const uint8_t *texts = symbol_section(image, symbol_number(table + 0x28, 4));
    if (!texts || !symbol_is_inside(image, at, bytes)) {
        return false;
    }
    uint64_t texts_at = symbol_number(texts + 0x18, 8);
    for (; bytes >= SYMBOL_BYTES; at += SYMBOL_BYTES, bytes -= SYMBOL_BYTES) {
        const uint8_t *symbol = image->bytes + at;
        uint64_t text = texts_at + symbol_number(symbol, 4);
        if (symbol[4] >> 4 == BINDING_UNIQUE && symbol_number(symbol + 6, 2) != 0 &&
            symbol_is_inside(image, text, 1)) {
            snprintf(name, size, "%.*s", (int)strnlen((const char *)image->bytes + text, size - 1),
                     (const char *)image->bytes + text);
            return true;
        }
    }
    return false;
}

bool symbols_find_unique(const char *path, char *name, size_t size) {
    char *text = NULL;
    size_t length = 0;
    bool found = false;
    if (!os_file_read(path, FILE_BYTES_MAX, &text, &length, NULL)) {
        return false;
    }
    const struct image image = {(const uint8_t *)text, length};
    if (length >= HEADER_BYTES && memcmp(text,
                                         "\x7f"
                                         "ELF\x02\x01",
                                         6) == 0) {
        uint64_t count = symbol_number(image.bytes + 0x3C, 2);
        for (uint64_t i = 0; i < count && !found; i++) {
            const uint8_t *table = symbol_section(&image, i);
            found = table && symbol_number(table + 4, 4) == SECTION_DYNAMIC_SYMBOLS &&
                    find_in(&image, table, name, size);
        }
    }
    alloc_free(text);
    return found;
}
