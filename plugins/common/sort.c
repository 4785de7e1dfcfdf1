#include "common/sort.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct order {
    size_t size; /* of an item */
    int (*compare)(const void *left, const void *right, const void *context);
    const void *context;
};

/* Merges two adjacent runs, `left` to `middle` to `end`, into `to`. */
static void sort_merge(const struct order *order, const uint8_t *left, const uint8_t *middle,
                       const uint8_t *end, uint8_t *to) {
    const uint8_t *right = middle;
    while (left < middle && right < end) {
        const uint8_t **first = order->compare(left, right, order->context) <= 0 ? &left : &right;
        memcpy(to, *first, order->size);
        *first += order->size;
        to += order->size;
    }
    memcpy(to, left, (size_t)(middle - left));
    to += middle - left;
    memcpy(to, right, (size_t)(end - right));
}

bool sort_items(void *items, size_t count, size_t size,
                int (*compare)(const void *left, const void *right, const void *context),
                const void *context) {
    const struct order order = {size, compare, context};
    if (count < 2) {
        return true;
    }
    uint8_t *spare = calloc(count, size);
    if (!spare) {
        return false;
    }
    uint8_t *from = items;
    uint8_t *to = spare;
    for (size_t run = 1; run < count; run *= 2) {
        for (size_t begin = 0; begin < count; begin += 2 * run) {
            size_t middle = begin + run < count ? begin + run : count;
            size_t end = middle + run < count ? middle + run : count;
            sort_merge(&order, from + begin * size, from + middle * size, from + end * size,
                       to + begin * size);
        }
        uint8_t *sorted = to;
        to = from;
        from = sorted;
    }
    if (from != items) {
        memcpy(items, from, count * size);
    }
    free(spare);
    return true;
}
