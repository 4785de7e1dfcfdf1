/* A chat client's line: whatever comes, what is found lies within it, and what is passed on to
 * others is text that cannot be taken for anything else.
 *
 * Input: the longest name allowed, then the line.
 *
 * Links: plugins/chat/line.c plugins/common/utf8.c */
#include <string.h>

#include "chat/line.h"
#include "common/utf8.h"
#include "fuzz.h"

enum { LINE_MAX = 4096 };

/* Nothing is passed on that ends a line, or shows it in another order, elsewhere. */
static void check_layout(const uint8_t *text, size_t size) {
    for (size_t at = 0; at < size;) {
        uint32_t character = 0;
        at += utf8_read(text + at, size - at, &character);
        FUZZ_CHECK(!utf8_is_layout(character));
    }
}

static void check_span(const struct span *span, const uint8_t *bytes, size_t size) {
    if (span->bytes) {
        const uint8_t *begin = (const uint8_t *)span->bytes;
        FUZZ_CHECK(begin >= bytes && begin <= bytes + size);
        FUZZ_CHECK(span->size <= (size_t)(bytes + size - begin));
        FUZZ_CHECK(utf8_is_text(begin, span->size));
        check_layout(begin, span->size);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1 || size > LINE_MAX) {
        return 0;
    }
    uint32_t name_max = 1 + data[0] % NAME_BYTES_MAX;
    uint8_t *bytes = malloc(size); /* of its own, so that a read beyond it is seen */
    memcpy(bytes, data + 1, size - 1);
    size--;
    struct line line = line_read(bytes, (uint32_t)size, name_max);
    bool has_text = line.kind == LINE_SAY || line.kind == LINE_MSG;
    bool has_name = line.kind == LINE_JOIN || line.kind == LINE_MSG || line.kind == LINE_NICK;
    FUZZ_CHECK(line.kind <= LINE_SURPLUS);
    check_span(&line.name, bytes, size);
    check_span(&line.text, bytes, size);
    FUZZ_CHECK(!has_text || (line.text.bytes && line.text.size > 0));
    FUZZ_CHECK(!has_name || line.name.bytes);
    if (line.kind < LINE_NOT_TEXT && line.name.bytes) {
        FUZZ_CHECK(line_is_name(line.name.bytes, line.name.size, name_max));
    }
    free(bytes);
    return 0;
}
