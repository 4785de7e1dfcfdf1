/* sort.h: a sort in n log n steps for any input: the C library's qsort() may be quadratic on some
 * systems, and the sorted items here are untrusted input. Threads: any. */
#ifndef BERTH_PLUGINS_COMMON_SORT_H
#define BERTH_PLUGINS_COMMON_SORT_H

#include <stdbool.h>
#include <stddef.h>

/* compare(left, right, context) as of qsort(). The sort is stable. False: no memory; nothing has
 * changed. */
bool sort_items(void *items, size_t count, size_t size,
                int (*compare)(const void *left, const void *right, const void *context),
                const void *context);

#endif
