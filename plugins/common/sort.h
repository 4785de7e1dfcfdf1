/* sort.h: a sort whose cost no order of the items can raise above n log n: the C library's qsort()
 * may be quadratic on some systems, and others choose what is sorted here. Threads: any. */
#ifndef BERTH_PLUGINS_COMMON_SORT_H
#define BERTH_PLUGINS_COMMON_SORT_H

#include <stdbool.h>
#include <stddef.h>

/* compare(left, right, context) as of qsort(). Items that are equal keep their order. False: there
 * is no memory for it, and nothing has changed. */
bool sort_items(void *items, size_t count, size_t size,
                int (*compare)(const void *left, const void *right, const void *context),
                const void *context);

#endif
