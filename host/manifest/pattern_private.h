/* pattern_private.h: the parse tree that pattern_read.c makes and pattern.c compiles and matches.
 *
 * Owner: the struct pattern. Threads: one at a time. */
#ifndef BERTH_HOST_MANIFEST_PATTERN_PRIVATE_H
#define BERTH_HOST_MANIFEST_PATTERN_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>

struct error;

enum {
    PATTERN_NODES_MAX = 1024,
    PATTERN_RANGES_MAX = 2048,
    PATTERN_REPEAT_MAX = 255,
    PATTERN_DEPTH_MAX = 32,
    PATTERN_NO_LIMIT = -1,
};

enum pattern_kind {
    PATTERN_EMPTY,
    PATTERN_SET,    /* one character of a set */
    PATTERN_BEGIN,  /* ^ */
    PATTERN_END,    /* $ */
    PATTERN_CAT,    /* one, and then the other */
    PATTERN_ALT,    /* one or the other */
    PATTERN_REPEAT, /* one, from min to max times */
};

struct pattern_node {
    enum pattern_kind kind;
    int one;
    int other;
    int min;
    int max; /* PATTERN_NO_LIMIT: any number */
    int set; /* where its ranges begin */
    int set_count;
    bool negated;
};

struct pattern_range {
    uint32_t from;
    uint32_t to;
};

struct pattern_tree {
    struct pattern_node nodes[PATTERN_NODES_MAX];
    int node_count;
    struct pattern_range ranges[PATTERN_RANGES_MAX];
    int range_count;
};

/* The index of the root, or -1 with an error. */
int pattern_read(struct pattern_tree *tree, const char *text, struct error *error);

/* The code point at *at, which moves past it; the text is UTF-8. */
uint32_t pattern_next(const char **at);

#endif
