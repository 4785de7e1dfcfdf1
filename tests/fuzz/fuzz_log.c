/* A line of the log from hostile text: one line of valid UTF-8 without a control character, in JSON
 * with every quote escaped, and whole up to its end.
 *
 * Links: host/base/log.c host/base/text.c */
#include <stdbool.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "fuzz.h"

/* The kind of the first byte that may not follow the escapes of JSON; or whether the text ends. */
static bool is_json_end(const char *line, size_t size) {
    bool inside = false;
    for (size_t i = 0; i < size; i++) {
        if (inside && line[i] == '\\') {
            FUZZ_CHECK(i + 1 < size && strchr("\"\\u", line[i + 1]) != NULL);
            i++;
        } else if (line[i] == '"') {
            inside = !inside;
        }
    }
    return !inside && size >= 2 && line[0] == '{' && line[size - 1] == '}';
}

static void check_line(const char *line, size_t size, bool json) {
    FUZZ_CHECK(size > 0 && size <= LOG_LINE_MAX && line[size - 1] == '\n');
    size--;
    for (size_t at = 0; at < size;) {
        struct text_piece piece;
        size_t used = text_next(line + at, size - at, &piece);
        FUZZ_CHECK(used == piece.size && memcmp(line + at, piece.bytes, used) == 0);
        at += used;
    }
    FUZZ_CHECK(!json || is_json_end(line, size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char text[8192];
    char line[LOG_LINE_MAX];
    if (size >= sizeof(text)) {
        return 0;
    }
    memcpy(text, data, size);
    text[size] = '\0';
    struct log_place place = {.file = text, .pointer = text, .line = 1, .column = 1};
    struct log_subject subject = {.peer = text, .place = size % 2 ? &place : NULL};
    for (int json = 0; json < 2; json++) {
        log_setup(LOG_LEVEL_INFO, json ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT);
        check_line(line, log_format(line, sizeof(line), LOG_LEVEL_INFO, &subject, text), json);
    }
    size_t whole = text_whole(text, size);
    FUZZ_CHECK(whole <= size && size - whole < 4);
    return 0;
}
