#include "manifest/json_locations.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

#define uthash_malloc(size) alloc_zeroed(size)
#define uthash_free(memory, size) alloc_free(memory)
#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(entry) ((entry)->failed = true)
#include <uthash.h>

enum { POINTER_MAX = 1024, KEY_MAX = 256 };

struct json_locations_entry {
    struct json_location key;
    struct json_location value;
    bool failed; /* uthash had no memory for it */
    UT_hash_handle hh;
    char pointer[];
};

struct reader {
    struct json_locations *locations;
    const unsigned char *at;
    const unsigned char *end;
    struct json_location here;
    size_t depth;
    size_t depth_max;
    size_t pointer_length;
    char pointer[POINTER_MAX];
    bool muted; /* inside the value of a duplicate key: its locations are those of the first */
    json_locations_report *report;
    void *context;
};

static bool json_locations_wrong(struct reader *reader, struct json_location location,
                                 const char *message) {
    reader->report(reader->context, location, reader->pointer, message);
    return false;
}

/* -- characters ------------------------------------------------------------ */

static int json_locations_peek(const struct reader *reader) {
    return reader->at < reader->end ? *reader->at : -1;
}

/* Bytes of the UTF-8 character that begins here, 0 when it is malformed (RFC 3629). */
static size_t character_size(const struct reader *reader) {
    const unsigned char *at = reader->at;
    size_t left = (size_t)(reader->end - at);
    size_t size = at[0] < 0x80                     ? 1
                  : at[0] >= 0xc2 && at[0] <= 0xdf ? 2
                  : at[0] >= 0xe0 && at[0] <= 0xef ? 3
                  : at[0] >= 0xf0 && at[0] <= 0xf4 ? 4
                                                   : 0;
    if (size == 0 || size > left) {
        return 0;
    }
    for (size_t i = 1; i < size; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool overlong = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xf0 && at[1] < 0x90);
    bool surrogate = at[0] == 0xed && at[1] >= 0xa0;
    bool beyond = at[0] == 0xf4 && at[1] >= 0x90;
    return overlong || surrogate || beyond ? 0 : size;
}

static void json_locations_step(struct reader *reader, size_t size) {
    if (*reader->at == '\n') {
        reader->here.line++;
        reader->here.column = 1;
    } else {
        reader->here.column++;
    }
    reader->at += size;
}

static void skip_space(struct reader *reader) {
    int c = json_locations_peek(reader);
    while (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
        json_locations_step(reader, 1);
        c = json_locations_peek(reader);
    }
}

/* Reports what was found here instead of what was expected. */
static bool json_locations_unexpected(struct reader *reader, const char *expected) {
    char message[160];
    int c = json_locations_peek(reader);
    if (c < 0) {
        snprintf(message, sizeof(message), "the file ends where %s is expected", expected);
    } else if (c == '/' || c == '#') {
        snprintf(message, sizeof(message), "expected %s; JSON has no comments", expected);
    } else if (c == '\'') {
        snprintf(message, sizeof(message), "expected %s; JSON's quotes are double ones", expected);
    } else if (c < 0x20 || c > 0x7e) {
        snprintf(message, sizeof(message), "expected %s, found the byte 0x%02x", expected,
                 (unsigned)c);
    } else {
        snprintf(message, sizeof(message), "expected %s, found '%c'", expected, c);
    }
    return json_locations_wrong(reader, reader->here, message);
}

/* -- strings --------------------------------------------------------------- */

/* A decoded key, cut at KEY_MAX; NULL if the caller does not need it. */
struct text {
    size_t size;
    char bytes[KEY_MAX];
};

static void text_add(struct text *text, uint32_t code) {
    unsigned char bytes[4];
    size_t size = 0;
    if (!text) {
        return;
    }
    if (code < 0x80) {
        bytes[size++] = (unsigned char)code;
    } else if (code < 0x800) {
        bytes[size++] = (unsigned char)(0xc0 | code >> 6);
        bytes[size++] = (unsigned char)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        bytes[size++] = (unsigned char)(0xe0 | code >> 12);
        bytes[size++] = (unsigned char)(0x80 | (code >> 6 & 0x3f));
        bytes[size++] = (unsigned char)(0x80 | (code & 0x3f));
    } else {
        bytes[size++] = (unsigned char)(0xf0 | code >> 18);
        bytes[size++] = (unsigned char)(0x80 | (code >> 12 & 0x3f));
        bytes[size++] = (unsigned char)(0x80 | (code >> 6 & 0x3f));
        bytes[size++] = (unsigned char)(0x80 | (code & 0x3f));
    }
    if (text->size + size < sizeof(text->bytes)) {
        memcpy(text->bytes + text->size, bytes, size);
        text->size += size;
    }
}

static int hex_value(int c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The four digits after \u. */
static bool read_unit(struct reader *reader, struct json_location start, uint32_t *unit) {
    *unit = 0;
    for (int i = 0; i < 4; i++) {
        int value = hex_value(json_locations_peek(reader));
        if (value < 0) {
            return json_locations_wrong(reader, start, "\\u needs four hexadecimal digits");
        }
        *unit = *unit << 4 | (uint32_t)value;
        json_locations_step(reader, 1);
    }
    return true;
}

static bool json_locations_read_unicode(struct reader *reader, struct json_location start,
                                        struct text *text) {
    uint32_t unit;
    uint32_t low;
    if (!read_unit(reader, start, &unit)) {
        return false;
    }
    if (unit == 0) {
        return json_locations_wrong(reader, start, "a string must not hold the character \\u0000");
    }
    if (unit >= 0xd800 && unit <= 0xdfff) {
        bool pair = unit <= 0xdbff && reader->end - reader->at >= 2 && reader->at[0] == '\\' &&
                    reader->at[1] == 'u';
        if (!pair) {
            return json_locations_wrong(reader, start, "half of a surrogate pair stands alone");
        }
        json_locations_step(reader, 1);
        json_locations_step(reader, 1);
        if (!read_unit(reader, start, &low)) {
            return false;
        }
        if (low < 0xdc00 || low > 0xdfff) {
            return json_locations_wrong(reader, start, "half of a surrogate pair stands alone");
        }
        unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
    }
    text_add(text, unit);
    return true;
}

static bool json_locations_read_escape(struct reader *reader, struct text *text) {
    static const char escapes[] = "\"\\/bfnrt";
    static const char meanings[] = "\"\\/\b\f\n\r\t";
    struct json_location start = reader->here;
    json_locations_step(reader, 1);
    int c = json_locations_peek(reader);
    const char *found = c > 0 ? strchr(escapes, c) : NULL;
    if (found) {
        text_add(text, (unsigned char)meanings[found - escapes]);
        json_locations_step(reader, 1);
        return true;
    }
    if (c == 'u') {
        json_locations_step(reader, 1);
        return json_locations_read_unicode(reader, start, text);
    }
    return json_locations_wrong(reader, start,
                                "an unknown escape: after \\ comes one of \" \\ / b f n r t u");
}

static bool read_string(struct reader *reader, struct text *text) {
    struct json_location start = reader->here;
    json_locations_step(reader, 1);
    while (json_locations_peek(reader) != '"') {
        int c = json_locations_peek(reader);
        if (c < 0) {
            return json_locations_wrong(reader, start, "this string does not end");
        }
        if (c < 0x20) {
            return json_locations_wrong(
                reader, reader->here,
                "a control character in a string must be escaped (or the quote before it "
                "is missing)");
        }
        if (c == '\\') {
            if (!json_locations_read_escape(reader, text)) {
                return false;
            }
            continue;
        }
        size_t size = character_size(reader);
        if (size == 0) {
            return json_locations_wrong(reader, reader->here, "not UTF-8");
        }
        for (size_t i = 0; text && i < size && text->size + 1 < sizeof(text->bytes); i++) {
            text->bytes[text->size++] = (char)reader->at[i];
        }
        json_locations_step(reader, size);
    }
    json_locations_step(reader, 1);
    return true;
}

/* -- locations ------------------------------------------------------------- */

static struct json_locations_entry *json_locations_find(const struct json_locations *locations,
                                                        const char *pointer, size_t length) {
    struct json_locations_entry *entry = NULL;
    HASH_FIND(hh, locations->entries, pointer, length, entry);
    return entry;
}

static bool add_entry(struct reader *reader, struct json_location key) {
    struct json_locations *locations = reader->locations;
    size_t length = reader->pointer_length;
    if (reader->muted) {
        return true;
    }
    struct json_locations_entry *entry = alloc_zeroed(sizeof(*entry) + length + 1);
    if (entry) {
        memcpy(entry->pointer, reader->pointer, length + 1);
        entry->key = key;
        entry->value = reader->here;
        HASH_ADD_KEYPTR(hh, locations->entries, entry->pointer, length, entry);
        if (!entry->failed) {
            return true;
        }
        alloc_free(entry);
    }
    locations->failed = true;
    return false;
}

/* Appends a token to the pointer, escaped; what does not fit is cut (and can then not be found). */
static size_t json_locations_push(struct reader *reader, const char *token, size_t size) {
    size_t before = reader->pointer_length;
    size_t length = before;
    if (length < POINTER_MAX - 1) {
        reader->pointer[length++] = '/';
    }
    for (size_t i = 0; i < size && length < POINTER_MAX - 2; i++) {
        if (token[i] == '~' || token[i] == '/') {
            reader->pointer[length++] = '~';
            reader->pointer[length++] = token[i] == '~' ? '0' : '1';
        } else {
            reader->pointer[length++] = token[i];
        }
    }
    reader->pointer[length] = '\0';
    reader->pointer_length = length;
    return before;
}

static void json_locations_pop(struct reader *reader, size_t before) {
    reader->pointer_length = before;
    reader->pointer[before] = '\0';
}

/* -- values ---------------------------------------------------------------- */

static bool read_value(struct reader *reader);

static bool read_literal(struct reader *reader, const char *word) {
    size_t length = strlen(word);
    if ((size_t)(reader->end - reader->at) < length || memcmp(reader->at, word, length) != 0) {
        return json_locations_unexpected(reader, "a value");
    }
    for (size_t i = 0; i < length; i++) {
        json_locations_step(reader, 1);
    }
    return true;
}

static size_t skip_digits(struct reader *reader) {
    size_t count = 0;
    while (json_locations_peek(reader) >= '0' && json_locations_peek(reader) <= '9') {
        json_locations_step(reader, 1);
        count++;
    }
    return count;
}

static bool json_locations_read_number(struct reader *reader) {
    struct json_location start = reader->here;
    if (json_locations_peek(reader) == '-') {
        json_locations_step(reader, 1);
    }
    bool zero = json_locations_peek(reader) == '0';
    size_t digits = skip_digits(reader);
    if (digits == 0) {
        return json_locations_unexpected(reader, "a digit");
    }
    if (zero && digits > 1) {
        return json_locations_wrong(reader, start, "a number must not begin with a zero");
    }
    if (json_locations_peek(reader) == '.') {
        json_locations_step(reader, 1);
        if (skip_digits(reader) == 0) {
            return json_locations_unexpected(reader, "a digit behind the point");
        }
    }
    if (json_locations_peek(reader) == 'e' || json_locations_peek(reader) == 'E') {
        json_locations_step(reader, 1);
        if (json_locations_peek(reader) == '+' || json_locations_peek(reader) == '-') {
            json_locations_step(reader, 1);
        }
        if (skip_digits(reader) == 0) {
            return json_locations_unexpected(reader, "a digit in the exponent");
        }
    }
    return true;
}

static bool json_locations_read_member(struct reader *reader) {
    struct json_location key = reader->here;
    struct text text = {0};
    if (json_locations_peek(reader) != '"') {
        return json_locations_unexpected(reader, "a key in double quotes");
    }
    if (!read_string(reader, &text)) {
        return false;
    }
    size_t before = json_locations_push(reader, text.bytes, text.size);
    bool muted = reader->muted;
    bool twice = !muted && json_locations_find(reader->locations, reader->pointer,
                                               reader->pointer_length) != NULL;
    skip_space(reader);
    if (json_locations_peek(reader) != ':') {
        return json_locations_unexpected(reader, "':' behind the key");
    }
    json_locations_step(reader, 1);
    skip_space(reader);
    if (twice) {
        json_locations_wrong(reader, key, "this key is here a second time: keep one of them");
        reader->muted = true;
    } else if (!add_entry(reader, key)) {
        return false;
    }
    bool read = read_value(reader);
    reader->muted = muted;
    if (read) {
        json_locations_pop(reader, before);
    }
    return read;
}

static bool read_item(struct reader *reader, size_t index) {
    char token[24];
    int length = snprintf(token, sizeof(token), "%zu", index);
    size_t before = json_locations_push(reader, token, (size_t)length);
    bool read = add_entry(reader, reader->here) && read_value(reader);
    if (read) {
        json_locations_pop(reader, before);
    }
    return read;
}

/* What objects and arrays have in common: items between commas, up to the closing character. */
static bool json_locations_read_items(struct reader *reader, char close, bool members) {
    if (++reader->depth > reader->depth_max) {
        char message[64];
        snprintf(message, sizeof(message), "nested deeper than %zu levels", reader->depth_max);
        return json_locations_wrong(reader, reader->here, message);
    }
    json_locations_step(reader, 1);
    skip_space(reader);
    for (size_t index = 0; json_locations_peek(reader) != close; index++) {
        if (!(members ? json_locations_read_member(reader) : read_item(reader, index))) {
            return false;
        }
        skip_space(reader);
        if (json_locations_peek(reader) == ',') {
            struct json_location comma = reader->here;
            json_locations_step(reader, 1);
            skip_space(reader);
            if (json_locations_peek(reader) == close) {
                return json_locations_wrong(reader, comma, "a comma behind the last item");
            }
        } else if (json_locations_peek(reader) != close) {
            return json_locations_unexpected(reader, members ? "',' or '}'" : "',' or ']'");
        }
    }
    json_locations_step(reader, 1);
    reader->depth--;
    return true;
}

static bool read_value(struct reader *reader) {
    switch (json_locations_peek(reader)) {
    case '{':
        return json_locations_read_items(reader, '}', true);
    case '[':
        return json_locations_read_items(reader, ']', false);
    case '"':
        return read_string(reader, NULL);
    case 't':
        return read_literal(reader, "true");
    case 'f':
        return read_literal(reader, "false");
    case 'n':
        return read_literal(reader, "null");
    default:
        break;
    }
    int c = json_locations_peek(reader);
    return c == '-' || (c >= '0' && c <= '9') ? json_locations_read_number(reader)
                                              : json_locations_unexpected(reader, "a value");
}

bool json_locations_init(struct json_locations *locations, const char *text, size_t size,
                         size_t depth_max, json_locations_report *report, void *context) {
    *locations = (struct json_locations){0};
    struct reader *reader = alloc_zeroed(sizeof(*reader));
    if (!reader) {
        locations->failed = true;
        return false;
    }
    reader->locations = locations;
    reader->at = (const unsigned char *)text;
    reader->end = reader->at + size;
    reader->here = (struct json_location){1, 1};
    reader->depth_max = depth_max;
    reader->report = report;
    reader->context = context;
    skip_space(reader);
    bool read = add_entry(reader, reader->here) && read_value(reader);
    if (read) {
        skip_space(reader);
        if (reader->at < reader->end) {
            read = json_locations_unexpected(reader, "nothing more behind the document");
        }
    }
    alloc_free(reader);
    return read;
}

void json_locations_fini(struct json_locations *locations) {
    struct json_locations_entry *entry;
    struct json_locations_entry *next;
    HASH_ITER(hh, locations->entries, entry, next) {
        HASH_DEL(locations->entries, entry);
        alloc_free(entry);
    }
}

static const struct json_locations_entry *
json_locations_nearest(const struct json_locations *locations, const char *pointer) {
    size_t length = strlen(pointer);
    for (;;) {
        const struct json_locations_entry *entry = json_locations_find(locations, pointer, length);
        if (entry || length == 0) {
            return entry;
        }
        while (length > 0 && pointer[--length] != '/') {
        }
    }
}

struct json_location json_locations_value(const struct json_locations *locations,
                                          const char *pointer) {
    const struct json_locations_entry *entry = json_locations_nearest(locations, pointer);
    return entry ? entry->value : (struct json_location){1, 1};
}

struct json_location json_locations_key(const struct json_locations *locations,
                                        const char *pointer) {
    const struct json_locations_entry *entry = json_locations_nearest(locations, pointer);
    return entry ? entry->key : (struct json_location){1, 1};
}
