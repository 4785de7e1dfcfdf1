/* pattern_read.c: from the text of a regular expression to its tree. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/macros.h"
#include "manifest/pattern_private.h"

enum { CODE_MAX = 0x10FFFF };

struct reader {
    struct pattern_tree *tree;
    const char *start;
    const char *at;
    int depth;
    struct error *error;
};

static int read_alternatives(struct reader *reader);

static int pattern_read_refuse(const struct reader *reader, const char *at, const char *what) {
    size_t column = 1;
    for (const char *one = reader->start; one < at; one++) {
        column += ((unsigned char)*one & 0xc0) != 0x80;
    }
    error_set(reader->error, "at character %zu of the regular expression: %s", column, what);
    return -1;
}

uint32_t pattern_next(const char **at) {
    const unsigned char *bytes = (const unsigned char *)*at;
    unsigned size = bytes[0] < 0x80 ? 1 : bytes[0] < 0xe0 ? 2 : bytes[0] < 0xf0 ? 3 : 4;
    uint32_t code = size == 1 ? bytes[0] : bytes[0] & (0xffu >> (size + 1));
    for (unsigned i = 1; i < size; i++) {
        if ((bytes[i] & 0xc0) != 0x80) { /* not UTF-8: the byte counts as one character */
            *at += i;
            return code;
        }
        code = code << 6 | (bytes[i] & 0x3fu);
    }
    *at += size;
    return code;
}

static int add_node(struct reader *reader, struct pattern_node node) {
    if (reader->tree->node_count == PATTERN_NODES_MAX) {
        return pattern_read_refuse(reader, reader->at, "it is too long");
    }
    reader->tree->nodes[reader->tree->node_count] = node;
    return reader->tree->node_count++;
}

static bool add_range(struct reader *reader, uint32_t from, uint32_t to) {
    if (reader->tree->range_count == PATTERN_RANGES_MAX) {
        pattern_read_refuse(reader, reader->at, "its sets of characters are too many");
        return false;
    }
    reader->tree->ranges[reader->tree->range_count++] = (struct pattern_range){from, to};
    return true;
}

/* -- classes of characters ------------------------------------------------- */

static const struct pattern_range digits[] = {{'0', '9'}};
static const struct pattern_range words[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
static const struct pattern_range spaces[] = {
    {'\t', '\r'},     {' ', ' '},       {0xa0, 0xa0},     {0x1680, 0x1680}, {0x2000, 0x200a},
    {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}, {0xfeff, 0xfeff},
};
static const struct pattern_range line_ends[] = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};

static bool add_ranges(struct reader *reader, const struct pattern_range *ranges, size_t count,
                       bool negated) {
    uint32_t next = 0;
    for (size_t i = 0; i < count; i++) { /* in their order, so that the gaps are the negation */
        bool added = !negated || ranges[i].from == next
                         ? negated || add_range(reader, ranges[i].from, ranges[i].to)
                         : add_range(reader, next, ranges[i].from - 1);
        if (!added) {
            return false;
        }
        next = ranges[i].to + 1;
    }
    return !negated || add_range(reader, next, CODE_MAX);
}

/* \d and its like. 1: added; 0: it is another escape; -1: an error. */
static int add_class(struct reader *reader, char letter) {
    const struct {
        char letter;
        const struct pattern_range *ranges;
        size_t count;
    } classes[] = {
        {'d', digits, ARRAY_COUNT(digits)},
        {'w', words, ARRAY_COUNT(words)},
        {'s', spaces, ARRAY_COUNT(spaces)},
    };
    for (size_t i = 0; i < ARRAY_COUNT(classes); i++) {
        bool negated = letter == classes[i].letter - 'a' + 'A';
        if (letter == classes[i].letter || negated) {
            return add_ranges(reader, classes[i].ranges, classes[i].count, negated) ? 1 : -1;
        }
    }
    return 0;
}

/* -- escapes --------------------------------------------------------------- */

static bool read_hex(struct reader *reader, int count, uint32_t *code) {
    static const char digits_of_hex[] = "0123456789abcdef0123456789ABCDEF";
    *code = 0;
    for (int i = 0; i < count; i++) {
        const char *found = *reader->at ? strchr(digits_of_hex, *reader->at) : NULL;
        if (!found) {
            pattern_read_refuse(reader, reader->at, "expected a hexadecimal digit");
            return false;
        }
        *code = *code << 4 | (uint32_t)((found - digits_of_hex) % 16);
        reader->at++;
    }
    return true;
}

static bool pattern_read_unicode(struct reader *reader, uint32_t *code) {
    uint32_t low;
    if (!read_hex(reader, 4, code)) {
        return false;
    }
    if (*code < 0xd800 || *code > 0xdfff) {
        return true;
    }
    if (*code > 0xdbff || reader->at[0] != '\\' || reader->at[1] != 'u') {
        pattern_read_refuse(reader, reader->at, "half of a surrogate pair stands alone");
        return false;
    }
    reader->at += 2;
    if (!read_hex(reader, 4, &low) || low < 0xdc00 || low > 0xdfff) {
        pattern_read_refuse(reader, reader->at, "half of a surrogate pair stands alone");
        return false;
    }
    *code = 0x10000 + ((*code - 0xd800) << 10) + (low - 0xdc00);
    return true;
}

/* One character after a backslash, which has been read. */
static bool read_escaped(struct reader *reader, uint32_t *code) {
    static const char letters[] = "tnrfv";
    static const char meanings[] = "\t\n\r\f\v";
    const char *start = reader->at - 1;
    char c = *reader->at;
    const char *found = c ? strchr(letters, c) : NULL;
    if (found) {
        *code = (unsigned char)meanings[found - letters];
        reader->at++;
        return true;
    }
    if (c == 'x' || c == 'u') {
        reader->at++;
        return c == 'x' ? read_hex(reader, 2, code) : pattern_read_unicode(reader, code);
    }
    if (c && strchr("^$\\.*+?()[]{}|/-", c)) {
        *code = (unsigned char)c;
        reader->at++;
        return true;
    }
    pattern_read_refuse(reader, start,
                        c >= '0' && c <= '9'   ? "a reference back to a group is not supported"
                        : c == 'b' || c == 'B' ? "\\b and \\B are not supported"
                        : c == 'p' || c == 'P'
                            ? "\\p and \\P are not supported: list the characters"
                        : c == 'k'  ? "a reference back to a group is not supported"
                        : c == '\0' ? "it ends behind a backslash"
                                    : "an unknown escape");
    return false;
}

/* -- sets ------------------------------------------------------------------ */

/* A member of a set: 1: one character; 0: a class, which has been added; -1: an error. */
static int pattern_read_member(struct reader *reader, uint32_t *code) {
    if (*reader->at == '\0') {
        return pattern_read_refuse(reader, reader->at, "expected \"]\"");
    }
    if (*reader->at == '[') {
        return pattern_read_refuse(reader, reader->at, "\"[\" within a set is written \"\\[\"");
    }
    if (*reader->at != '\\') {
        *code = pattern_next(&reader->at);
        return 1;
    }
    reader->at++;
    int added = add_class(reader, *reader->at);
    if (added != 0) {
        reader->at++;
        return added < 0 ? -1 : 0;
    }
    return read_escaped(reader, code) ? 1 : -1;
}

static bool read_range(struct reader *reader) {
    uint32_t from = 0;
    uint32_t to = 0;
    const char *start = reader->at;
    int kind = pattern_read_member(reader, &from);
    bool is_range = kind >= 0 && reader->at[0] == '-' && reader->at[1] != ']';
    if (!is_range) {
        return kind >= 0 && (kind == 0 || add_range(reader, from, from));
    }
    reader->at++;
    int end_kind = pattern_read_member(reader, &to);
    if (end_kind < 0) {
        return false;
    }
    if (kind == 0 || end_kind == 0 || from > to) {
        pattern_read_refuse(reader, start,
                            from > to ? "this range ends before it begins"
                                      : "a range goes from one character to another");
        return false;
    }
    return add_range(reader, from, to);
}

static int compare_ranges(const void *left, const void *right) {
    const struct pattern_range *one = left;
    const struct pattern_range *other = right;
    return one->from < other->from ? -1 : one->from > other->from;
}

/* In their order and without what overlaps, so that a character is found by bisection. */
static void order_ranges(struct pattern_tree *tree, int begin) {
    struct pattern_range *ranges = tree->ranges + begin;
    int count = tree->range_count - begin;
    int kept = 0;
    qsort(ranges, (size_t)count, sizeof(*ranges), compare_ranges);
    for (int i = 0; i < count; i++) {
        if (kept > 0 && ranges[i].from <= ranges[kept - 1].to + 1) {
            uint32_t to = ranges[i].to;
            ranges[kept - 1].to = to > ranges[kept - 1].to ? to : ranges[kept - 1].to;
        } else {
            ranges[kept++] = ranges[i];
        }
    }
    tree->range_count = begin + kept;
}

/* After the "[". */
static int read_set(struct reader *reader) {
    struct pattern_node node = {.kind = PATTERN_SET, .set = reader->tree->range_count};
    if (*reader->at == '^') {
        node.negated = true;
        reader->at++;
    }
    while (*reader->at != ']') {
        if (!read_range(reader)) {
            return -1;
        }
    }
    reader->at++;
    order_ranges(reader->tree, node.set);
    node.set_count = reader->tree->range_count - node.set;
    return add_node(reader, node);
}

/* -- what is repeated ------------------------------------------------------ */

static int add_set(struct reader *reader, int begin, bool negated) {
    struct pattern_node node = {.kind = PATTERN_SET,
                                .set = begin,
                                .set_count = reader->tree->range_count - begin,
                                .negated = negated};
    return add_node(reader, node);
}

static int read_group(struct reader *reader) {
    const char *start = reader->at - 1;
    if (reader->at[0] == '?') {
        if (reader->at[1] != ':') {
            return pattern_read_refuse(
                reader, start,
                "only (…) and (?:…) are supported: no lookarounds, named groups or flags");
        }
        reader->at += 2;
    }
    if (++reader->depth > PATTERN_DEPTH_MAX) {
        return pattern_read_refuse(reader, start, "its groups are nested too deep");
    }
    int inner = read_alternatives(reader);
    reader->depth--;
    if (inner >= 0 && *reader->at != ')') {
        return pattern_read_refuse(reader, start, "this group does not end");
    }
    reader->at += inner >= 0;
    return inner;
}

/* A class or one character, after a backslash. */
static int pattern_read_escape(struct reader *reader) {
    int begin = reader->tree->range_count;
    uint32_t code = 0;
    reader->at++;
    int added = add_class(reader, *reader->at);
    if (added != 0) {
        reader->at++;
        return added < 0 ? -1 : add_set(reader, begin, false);
    }
    return read_escaped(reader, &code) && add_range(reader, code, code)
               ? add_set(reader, begin, false)
               : -1;
}

static int read_atom(struct reader *reader) {
    int begin = reader->tree->range_count;
    const char *start = reader->at;
    uint32_t code = 0;
    switch (*reader->at) {
    case '(':
        reader->at++;
        return read_group(reader);
    case '[':
        reader->at++;
        return read_set(reader);
    case '^':
    case '$':
        reader->at++;
        return add_node(reader,
                        (struct pattern_node){.kind = *start == '^' ? PATTERN_BEGIN : PATTERN_END});
    case '.':
        reader->at++;
        return add_ranges(reader, line_ends, ARRAY_COUNT(line_ends), false)
                   ? add_set(reader, begin, true)
                   : -1;
    case '*':
    case '+':
    case '?':
        return pattern_read_refuse(reader, start, "there is nothing to repeat");
    case '{':
    case '}':
    case ']':
        return pattern_read_refuse(reader, start,
                                   "{, } and ] as characters are written with a backslash");
    case '\\':
        return pattern_read_escape(reader);
    default:
        code = pattern_next(&reader->at);
        return add_range(reader, code, code) ? add_set(reader, begin, false) : -1;
    }
}

/* Digits of a count; -1: there are none, or they are too many. */
static int pattern_read_count(struct reader *reader) {
    int count = -1;
    while (*reader->at >= '0' && *reader->at <= '9') {
        count = (count < 0 ? 0 : count) * 10 + (*reader->at++ - '0');
        if (count > PATTERN_REPEAT_MAX) {
            return pattern_read_refuse(reader, reader->at,
                                       "at most 255 repetitions can be counted");
        }
    }
    return count >= 0 ? count : pattern_read_refuse(reader, reader->at, "expected a count");
}

/* The bounds of a quantifier. 1: there is one; 0: none; -1: an error. */
static int read_bounds(struct reader *reader, int *min, int *max) {
    char c = *reader->at;
    if (c == '*' || c == '+' || c == '?') {
        *min = c == '+';
        *max = c == '?' ? 1 : PATTERN_NO_LIMIT;
        reader->at++;
        return 1;
    }
    if (c != '{') {
        return 0;
    }
    reader->at++;
    *min = pattern_read_count(reader);
    if (*min < 0) {
        return -1;
    }
    *max = *min;
    if (*reader->at == ',') {
        reader->at++;
        *max = *reader->at == '}' ? PATTERN_NO_LIMIT : pattern_read_count(reader);
        if (*max < 0 && *reader->at != '}') {
            return -1;
        }
    }
    if (*reader->at != '}' || (*max != PATTERN_NO_LIMIT && *max < *min)) {
        return pattern_read_refuse(reader, reader->at,
                                   *reader->at != '}' ? "expected \"}\""
                                                      : "this count ends before it begins");
    }
    reader->at++;
    return 1;
}

static int read_repeated(struct reader *reader) {
    int min = 0;
    int max = 0;
    int atom = read_atom(reader);
    if (atom < 0) {
        return -1;
    }
    const char *start = reader->at;
    int bounded = read_bounds(reader, &min, &max);
    if (bounded <= 0) {
        return bounded < 0 ? -1 : atom;
    }
    enum pattern_kind kind = reader->tree->nodes[atom].kind;
    if (kind == PATTERN_BEGIN || kind == PATTERN_END) {
        return pattern_read_refuse(reader, start, "there is nothing to repeat");
    }
    if (*reader->at == '?' || *reader->at == '+' || *reader->at == '*' || *reader->at == '{') {
        return pattern_read_refuse(reader, reader->at,
                                   *reader->at == '?'
                                       ? "lazy quantifiers are not supported, and change nothing "
                                         "in whether a text matches"
                                       : "there is nothing to repeat");
    }
    return add_node(
        reader, (struct pattern_node){.kind = PATTERN_REPEAT, .one = atom, .min = min, .max = max});
}

static int read_sequence(struct reader *reader) {
    int sequence = -1;
    while (*reader->at && *reader->at != '|' && *reader->at != ')') {
        int next = read_repeated(reader);
        if (next >= 0 && sequence >= 0) {
            next = add_node(
                reader, (struct pattern_node){.kind = PATTERN_CAT, .one = sequence, .other = next});
        }
        if (next < 0) {
            return -1;
        }
        sequence = next;
    }
    return sequence >= 0 ? sequence
                         : add_node(reader, (struct pattern_node){.kind = PATTERN_EMPTY});
}

static int read_alternatives(struct reader *reader) {
    int one = read_sequence(reader);
    while (one >= 0 && *reader->at == '|') {
        reader->at++;
        int other = read_sequence(reader);
        one = other < 0 ? -1
                        : add_node(reader, (struct pattern_node){
                                               .kind = PATTERN_ALT, .one = one, .other = other});
    }
    return one;
}

int pattern_read(struct pattern_tree *tree, const char *text, struct error *error) {
    struct reader reader = {.tree = tree, .start = text, .at = text, .error = error};
    int root = read_alternatives(&reader);
    if (root >= 0 && *reader.at) { /* only a ")" ends it before its end */
        return pattern_read_refuse(&reader, reader.at, "there is no \"(\" for this \")\"");
    }
    return root;
}
