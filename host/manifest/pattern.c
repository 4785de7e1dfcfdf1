/* pattern.c: a regular expression as a program, all of whose states run in parallel.
 *
 * Backtracking tries one path after the other, and there may be exponentially many paths. Here the
 * set of instructions that could be next moves over the text once (Thompson, 1968), so each
 * character costs at most one visit of each instruction.
 *
 * The tree is recursive as deep as groups are nested and as long as a sequence is: both are bounded
 * by pattern_private.h. */
#include "manifest/pattern.h"

#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "manifest/pattern_private.h"

enum code { CODE_SET, CODE_BEGIN, CODE_END, CODE_SPLIT, CODE_JUMP, CODE_MATCH };

/* Visits of the tree while the program is made: an empty node may be repeated many times. */
enum { VISITS_MAX = 65536 };

struct instruction {
    enum code code;
    int node; /* of the set */
    int to;
    int other; /* of a split */
};

/* The instructions that are next, each once. */
struct states {
    int count;
    int items[PATTERN_PROGRAM_MAX];
    unsigned marks[PATTERN_PROGRAM_MAX]; /* the round in which it was added */
};

struct pattern {
    struct pattern_tree tree;
    struct instruction program[PATTERN_PROGRAM_MAX];
    int size;
    int visits;
    struct states states[2];
    unsigned round;
    int stack[PATTERN_PROGRAM_MAX + 1];
};

/* -- the program ----------------------------------------------------------- */

static bool emit_node(struct pattern *pattern, int index);

static int pattern_emit(struct pattern *pattern, enum code code, int node) {
    if (pattern->size == PATTERN_PROGRAM_MAX) {
        return -1;
    }
    pattern->program[pattern->size] = (struct instruction){.code = code, .node = node};
    return pattern->size++;
}

/* The required repetitions, and then the optional ones. */
static bool emit_repeat(struct pattern *pattern, const struct pattern_node *node) {
    for (int i = 0; i < node->min; i++) {
        if (!emit_node(pattern, node->one)) {
            return false;
        }
    }
    if (node->max == PATTERN_NO_LIMIT) {
        int split = pattern_emit(pattern, CODE_SPLIT, 0);
        if (split < 0 || !emit_node(pattern, node->one)) {
            return false;
        }
        int back = pattern_emit(pattern, CODE_JUMP, 0);
        if (back < 0) {
            return false;
        }
        pattern->program[back].to = split;
        pattern->program[split].to = split + 1;
        pattern->program[split].other = pattern->size;
        return true;
    }
    for (int i = node->min; i < node->max; i++) {
        int split = pattern_emit(pattern, CODE_SPLIT, 0);
        if (split < 0 || !emit_node(pattern, node->one)) {
            return false;
        }
        pattern->program[split].to = split + 1;
        pattern->program[split].other = pattern->size; /* without it; the next may still be there */
    }
    return true;
}

static bool emit_either(struct pattern *pattern, const struct pattern_node *node) {
    int split = pattern_emit(pattern, CODE_SPLIT, 0);
    if (split < 0 || !emit_node(pattern, node->one)) {
        return false;
    }
    int jump = pattern_emit(pattern, CODE_JUMP, 0);
    if (jump < 0) {
        return false;
    }
    pattern->program[split].to = split + 1;
    pattern->program[split].other = pattern->size;
    bool emitted = emit_node(pattern, node->other);
    pattern->program[jump].to = pattern->size;
    return emitted;
}

static bool emit_node(struct pattern *pattern, int index) {
    const struct pattern_node *node = &pattern->tree.nodes[index];
    if (++pattern->visits > VISITS_MAX) {
        return false;
    }
    switch (node->kind) {
    case PATTERN_EMPTY:
        return true;
    case PATTERN_SET:
        return pattern_emit(pattern, CODE_SET, index) >= 0;
    case PATTERN_BEGIN:
        return pattern_emit(pattern, CODE_BEGIN, index) >= 0;
    case PATTERN_END:
        return pattern_emit(pattern, CODE_END, index) >= 0;
    case PATTERN_CAT:
        return emit_node(pattern, node->one) && emit_node(pattern, node->other);
    case PATTERN_ALT:
        return emit_either(pattern, node);
    case PATTERN_REPEAT:
        return emit_repeat(pattern, node);
    }
    return false;
}

struct pattern *pattern_create(const char *text, struct error *error) {
    struct pattern *pattern = alloc_zeroed(sizeof(*pattern));
    if (!pattern) {
        error_set(error, "out of memory");
        return NULL;
    }
    int root = pattern_read(&pattern->tree, text, error);
    if (root < 0) {
        pattern_destroy(pattern);
        return NULL;
    }
    if (!emit_node(pattern, root) || pattern_emit(pattern, CODE_MATCH, 0) < 0) {
        error_set(error,
                  "the regular expression is too large: with what it counts written out it may "
                  "have %d parts",
                  PATTERN_PROGRAM_MAX);
        pattern_destroy(pattern);
        return NULL;
    }
    return pattern;
}

void pattern_destroy(struct pattern *pattern) {
    alloc_free(pattern);
}

/* -- matching -------------------------------------------------------------- */

/* Instructions that consume no character are followed at once. Each instruction is on the stack at
 * most once a round. True: the program has ended. */
static bool add_state(struct pattern *pattern, struct states *states, int first, bool at_begin,
                      bool at_end) {
    int depth = 0;
    bool matched = false;
    if (states->marks[first] != pattern->round) {
        states->marks[first] = pattern->round;
        pattern->stack[depth++] = first;
    }
    while (depth > 0) {
        int at = pattern->stack[--depth];
        const struct instruction *one = &pattern->program[at];
        int next[2] = {-1, -1};
        switch (one->code) {
        case CODE_SET:
            states->items[states->count++] = at;
            break;
        case CODE_MATCH:
            matched = true;
            break;
        case CODE_BEGIN:
            next[0] = at_begin ? at + 1 : -1;
            break;
        case CODE_END:
            next[0] = at_end ? at + 1 : -1;
            break;
        case CODE_SPLIT:
            next[1] = one->other;
            next[0] = one->to;
            break;
        case CODE_JUMP:
            next[0] = one->to;
            break;
        }
        for (int i = 0; i < 2; i++) {
            if (next[i] >= 0 && states->marks[next[i]] != pattern->round) {
                states->marks[next[i]] = pattern->round;
                pattern->stack[depth++] = next[i];
            }
        }
    }
    return matched;
}

static bool is_in_set(const struct pattern *pattern, int index, uint32_t code) {
    const struct pattern_node *node = &pattern->tree.nodes[index];
    const struct pattern_range *ranges = &pattern->tree.ranges[node->set];
    int low = 0;
    int high = node->set_count;
    while (low < high) { /* the first that ends at it or after it */
        int middle = (low + high) / 2;
        if (ranges[middle].to < code) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool found = low < node->set_count && ranges[low].from <= code;
    return found != node->negated;
}

bool pattern_matches(struct pattern *pattern, const char *text) {
    struct states *now = &pattern->states[0];
    struct states *then = &pattern->states[1];
    pattern->round++;
    now->count = 0;
    bool matched = add_state(pattern, now, 0, true, *text == '\0');
    while (!matched && *text) {
        uint32_t code = pattern_next(&text);
        bool at_end = *text == '\0';
        pattern->round++;
        then->count = 0;
        for (int i = 0; i < now->count && !matched; i++) {
            const struct instruction *one = &pattern->program[now->items[i]];
            matched = is_in_set(pattern, one->node, code) &&
                      add_state(pattern, then, now->items[i] + 1, false, at_end);
        }
        /* It may also begin here. */
        matched = matched || add_state(pattern, then, 0, false, at_end);
        struct states *swap = now;
        now = then;
        then = swap;
    }
    return matched;
}
