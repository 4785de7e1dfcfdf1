#include "http/range.h"

/* Parses a number; one above the maximum is clamped. False: not a number.
 */
static bool range_read_number(struct text text, uint64_t *number) {
    *number = 0;
    for (uint32_t i = 0; i < text.size; i++) {
        char c = text.bytes[i];
        if (c < '0' || c > '9') {
            return false;
        }
        bool fits = *number <= (UINT64_MAX - 9) / 10;
        *number = fits ? *number * 10 + (uint64_t)(c - '0') : UINT64_MAX;
    }
    return text.size > 0;
}

/* "5-9", "5-", "-4". False: not a range. A range beyond the end has size 0. */
static bool read_one(struct text spec, uint64_t file_size, struct range *range) {
    uint32_t dash = 0;
    uint64_t first;
    uint64_t last;
    while (dash < spec.size && spec.bytes[dash] != '-') {
        dash++;
    }
    if (dash == spec.size) {
        return false;
    }
    struct text left = {spec.bytes, dash};
    struct text right = {spec.bytes + dash + 1, spec.size - dash - 1};
    *range = (struct range){0};
    if (left.size == 0) { /* a suffix range */
        if (!range_read_number(right, &last) || (last > 0 && file_size == 0)) {
            return false; /* no range can express all of an empty file */
        }
        range->size = last < file_size ? last : file_size;
        range->first = file_size - range->size;
        return true;
    }
    if (!range_read_number(left, &first) || (right.size > 0 && !range_read_number(right, &last))) {
        return false;
    }
    if (right.size == 0 || last >= file_size) {
        if (right.size > 0 && last < first) {
            return false;
        }
        last = file_size > 0 ? file_size - 1 : 0;
    } else if (last < first) {
        return false;
    }
    range->first = first;
    range->size = first < file_size ? last - first + 1 : 0;
    return true;
}

uint32_t range_read(struct text header, uint64_t file_size, struct range ranges[RANGES_MAX],
                    uint32_t *count) {
    struct text member;
    uint64_t asked = 0;
    bool any = false;
    *count = 0;
    if (header.size < 6 || !text_is((struct text){header.bytes, 6}, "bytes=")) {
        return 200;
    }
    header.bytes += 6;
    header.size -= 6;
    while (text_next(&header, &member)) {
        struct range range;
        if (!read_one(member, file_size, &range)) {
            return 200;
        }
        any = true;
        if (range.size == 0) {
            continue;
        }
        if (*count == RANGES_MAX || range.size > file_size - asked) {
            return 200;
        }
        asked += range.size;
        ranges[(*count)++] = range;
    }
    return *count > 0 ? 206 : any ? 416 : 200;
}
