/* range.h: the requested ranges of a file. Source: RFC 9110, 14. Pure. Threads: any. */
#ifndef BERTH_PLUGINS_HTTP_RANGE_H
#define BERTH_PLUGINS_HTTP_RANGE_H

#include "http/text.h"

enum { RANGES_MAX = 32 };

struct range {
    uint64_t first;
    uint64_t size; /* at least 1 */
};

/* Returns 200: the header is not understood, or asks for more than the whole would be (many or
 * overlapping ranges, RFC 9110, 14.2), and is ignored; 206 with ranges[*count]; 416: none of them
 * lies in the file. */
uint32_t range_read(struct text header, uint64_t file_size, struct range ranges[RANGES_MAX],
                    uint32_t *count);

#endif
