#include "kv/pattern.h"

/* Whether the class that begins at pattern[*at], after its "[", has the character; *at moves past
 * the class. An unfinished class ends with the pattern. */
static bool class_has(const uint8_t *pattern, size_t size, size_t *at, uint8_t c) {
    bool is_negated = *at < size && pattern[*at] == '^';
    bool found = false;
    *at += is_negated ? 1 : 0;
    while (*at < size && pattern[*at] != ']') {
        if (pattern[*at] == '\\' && size - *at >= 2) {
            found = found || pattern[*at + 1] == c;
            *at += 2;
        } else if (size - *at >= 3 && pattern[*at + 1] == '-') {
            uint8_t low = pattern[*at];
            uint8_t high = pattern[*at + 2];
            found = found || (low <= high ? c >= low && c <= high : c >= high && c <= low);
            *at += 3;
        } else {
            found = found || pattern[*at] == c;
            *at += 1;
        }
    }
    *at += *at < size ? 1 : 0;
    return found != is_negated;
}

/* Whether the element at pattern[*at], not a "*", matches the character; *at moves past it. */
static bool one_fits(const uint8_t *pattern, size_t size, size_t *at, uint8_t c) {
    uint8_t first = pattern[(*at)++];
    if (first == '?') {
        return true;
    }
    if (first == '[') {
        return class_has(pattern, size, at, c);
    }
    if (first == '\\' && *at < size) {
        first = pattern[(*at)++];
    }
    return first == c;
}

/* Only the last "*" is ever tried again: what an earlier one took can stay as it is. */
bool pattern_matches(const uint8_t *pattern, size_t pattern_size, const uint8_t *text,
                     size_t size) {
    size_t at = 0;
    size_t read = 0;
    size_t star = SIZE_MAX; /* after the last one */
    size_t star_read = 0;
    while (read < size) {
        if (at < pattern_size && pattern[at] == '*') {
            star = ++at;
            star_read = read;
            continue;
        }
        if (at < pattern_size && one_fits(pattern, pattern_size, &at, text[read])) {
            read++;
            continue;
        }
        if (star == SIZE_MAX) {
            return false;
        }
        at = star;
        read = ++star_read;
    }
    while (at < pattern_size && pattern[at] == '*') {
        at++;
    }
    return at == pattern_size;
}
