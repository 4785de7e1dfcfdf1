/* nearest.c: what was probably meant. */
#include <string.h>

#include "manifest/manifest.h"

enum { WORD_MAX = 64, PREFIX_MIN = 3 };

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

static char lower(char c) {
    return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

static bool same(char left, char right) {
    return lower(left) == lower(right);
}

/* Edits from one word to the other: a letter more, less, another, or two neighbours swapped (the
 * optimal string alignment distance). */
static size_t distance(const char *from, size_t from_length, const char *to, size_t to_length) {
    size_t rows[3][WORD_MAX + 1]; /* two rows back, one back, this one */
    for (size_t j = 0; j <= to_length; j++) {
        rows[1][j] = j;
    }
    memcpy(rows[0], rows[1], sizeof(rows[0]));
    for (size_t i = 1; i <= from_length; i++) {
        rows[2][0] = i;
        for (size_t j = 1; j <= to_length; j++) {
            size_t cost = same(from[i - 1], to[j - 1]) ? 0 : 1;
            size_t best = least(least(rows[1][j] + 1, rows[2][j - 1] + 1), rows[1][j - 1] + cost);
            if (i > 1 && j > 1 && same(from[i - 1], to[j - 2]) && same(from[i - 2], to[j - 1])) {
                best = least(best, rows[0][j - 2] + 1);
            }
            rows[2][j] = best;
        }
        memcpy(rows[0], rows[1], sizeof(rows[0]));
        memcpy(rows[1], rows[2], sizeof(rows[1]));
    }
    return rows[1][to_length];
}

/* One begins with the other: "addr" and "address", "warning" and "warn". */
static bool is_prefix(const char *word, size_t length, const char *other, size_t other_length) {
    size_t common = least(length, other_length);
    for (size_t i = 0; i < common; i++) {
        if (!same(word[i], other[i])) {
            return false;
        }
    }
    return common >= PREFIX_MIN;
}

/* Every third letter may be wrong; the fewest edits win, and only without any does a beginning
 * count. */
const char *manifest_nearest(const char *word, const char *const *candidates, size_t count) {
    size_t length = strlen(word);
    const char *nearest = NULL;
    const char *beginning = NULL;
    size_t fewest = WORD_MAX;
    if (length > WORD_MAX) {
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        size_t candidate_length = strlen(candidates[i]);
        if (candidate_length > WORD_MAX) {
            continue;
        }
        size_t longer = length > candidate_length ? length : candidate_length;
        size_t edits = distance(word, length, candidates[i], candidate_length);
        if (edits <= (longer + 1) / 3 && edits < candidate_length && edits < fewest) {
            nearest = candidates[i];
            fewest = edits;
        }
        if (!beginning && is_prefix(word, length, candidates[i], candidate_length)) {
            beginning = candidates[i];
        }
    }
    return nearest ? nearest : beginning;
}
