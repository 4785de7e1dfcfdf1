/* suggest.c: the candidate nearest to a misspelt word. */
#include <string.h>

#include "manifest/manifest.h"

enum { WORD_MAX = 64 };

static size_t suggest_least(size_t a, size_t b) {
    return a < b ? a : b;
}

/* Edits from one word to the other: a letter more, less, another, or two neighbours swapped (the
 * optimal string alignment distance). */
static size_t suggest_distance(const char *from, size_t from_length, const char *to,
                               size_t to_length) {
    size_t rows[3][WORD_MAX + 1]; /* two rows back, one back, this one */
    for (size_t j = 0; j <= to_length; j++) {
        rows[1][j] = j;
    }
    memcpy(rows[0], rows[1], sizeof(rows[0]));
    for (size_t i = 1; i <= from_length; i++) {
        rows[2][0] = i;
        for (size_t j = 1; j <= to_length; j++) {
            size_t cost = from[i - 1] == to[j - 1] ? 0 : 1;
            size_t best = suggest_least(suggest_least(rows[1][j] + 1, rows[2][j - 1] + 1),
                                        rows[1][j - 1] + cost);
            if (i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1]) {
                best = suggest_least(best, rows[0][j - 2] + 1);
            }
            rows[2][j] = best;
        }
        memcpy(rows[0], rows[1], sizeof(rows[0]));
        memcpy(rows[1], rows[2], sizeof(rows[1]));
    }
    return rows[1][to_length];
}

const char *manifest_suggest(const char *word, const char *const *candidates, size_t count) {
    size_t length = strlen(word);
    const char *nearest = NULL;
    size_t allowed = length <= 3 ? 1 : length <= 8 ? 2 : 3;
    for (size_t i = 0; i < count && length <= WORD_MAX; i++) {
        size_t candidate_length = strlen(candidates[i]);
        if (candidate_length > WORD_MAX) {
            continue;
        }
        size_t edits = suggest_distance(word, length, candidates[i], candidate_length);
        if (edits <= allowed && edits < candidate_length) {
            nearest = candidates[i];
            allowed = edits > 0 ? edits - 1 : 0;
            if (edits == 0) {
                break;
            }
        }
    }
    return nearest;
}
