/* The parsers of the plugin `http` on hostile bytes: heads, bodies, names, ranges, dates. However
 * the bytes are cut, a head and a body mean the same; names never leave the root.
 *
 * Links: plugins/http/authority.c plugins/http/body.c plugins/http/conditions.c plugins/http/date.c
 * plugins/http/range.c plugins/http/request.c plugins/http/target.c plugins/http/text.c
 * plugins/common/utf8.c */
#include <string.h>

#include "fuzz.h"
#include "http/authority.h"
#include "http/body.h"
#include "http/conditions.h"
#include "http/date.h"
#include "http/range.h"
#include "http/request.h"
#include "http/target.h"

static const struct request_limits limits = {4096, 1024, 32};

/* Copies of their own, so that a read beyond the end is seen. */
static uint8_t *copy_of(const uint8_t *data, size_t size) {
    uint8_t *copy = malloc(size > 0 ? size : 1);
    memcpy(copy, data, size);
    return copy;
}

static void check_within(struct text text, const uint8_t *bytes, size_t size) {
    FUZZ_CHECK(!text.bytes || text.size == 0 || !memchr(text.bytes, '\n', text.size));
    FUZZ_CHECK(text.size <= size || text.size == 1); /* "/" stands for an empty path */
    (void)bytes;
}

static void check_name(struct text path) {
    char name[NAME_BYTES_MAX];
    memset(name, 'x', sizeof(name));
    if (!path.bytes || target_to_name(path, false, name) != 0) {
        return;
    }
    FUZZ_CHECK(memchr(name, '\0', sizeof(name)));
    FUZZ_CHECK(name[0] != '/' && !strstr(name, "//") && !strchr(name, '\\') && !strchr(name, ':'));
    FUZZ_CHECK(strcmp(name, "..") != 0 && strncmp(name, "../", 3) != 0 && !strstr(name, "/../"));
    size_t size = strlen(name);
    FUZZ_CHECK(size < 3 || strcmp(name + size - 3, "/..") != 0);
}

static void check_body(const struct request *request, const uint8_t *data, size_t size) {
    struct body_drain whole;
    struct body_drain parts;
    uint32_t status;
    uint32_t part_status = 0;
    uint32_t taken = 0;
    if (size == 0) {
        return;
    }
    body_begin(&whole, request->body == BODY_CHUNKED, request->content_length, 100000);
    body_begin(&parts, request->body == BODY_CHUNKED, request->content_length, 100000);
    uint32_t all = body_take(&whole, data, (uint32_t)size, &status);
    FUZZ_CHECK(all <= size);
    while (taken < size && part_status == 0 && parts.state != BODY_DONE) {
        uint32_t one = body_take(&parts, data + taken, 1, &part_status);
        FUZZ_CHECK(one == 1 || part_status != 0);
        taken += one;
    }
    FUZZ_CHECK(part_status == status &&
               (status != 0 || (taken == all && parts.state == whole.state)));
}

static void check_ranges(struct text header, uint64_t size) {
    struct range ranges[RANGES_MAX];
    uint32_t count;
    uint64_t total = 0;
    uint32_t status = range_read(header, size, ranges, &count);
    FUZZ_CHECK(status == 200 || status == 206 || status == 416);
    FUZZ_CHECK(count <= RANGES_MAX);
    for (uint32_t i = 0; status == 206 && i < count; i++) {
        FUZZ_CHECK(ranges[i].size > 0 && ranges[i].first < size);
        FUZZ_CHECK(ranges[i].size <= size - ranges[i].first);
        total += ranges[i].size;
    }
    FUZZ_CHECK(total <= size);
}

static void check_date(struct text text) {
    int64_t when;
    int64_t again;
    char written[DATE_BYTES];
    if (date_read(text, 1700000000, &when)) {
        date_write(when, written);
        FUZZ_CHECK(date_read((struct text){written, DATE_BYTES - 1}, 1700000000, &again));
        FUZZ_CHECK(again == when);
    }
}

/* What names the file is never refused, and what is no condition changes nothing. */
static void check_conditions(const struct request *request) {
    const struct validators now = {"\"a-b\"", 1600000000, 1600000000, 1700000000};
    uint32_t status = conditions_check(request, &now);
    FUZZ_CHECK(status == 200 || status == 304 || status == 412);
    FUZZ_CHECK(status != 412 || request->has_if_match || request->if_unmodified_since.bytes);
    FUZZ_CHECK(status != 304 || request->has_if_none_match || request->if_modified_since.bytes);
    FUZZ_CHECK(!conditions_want_range(request, &now) || request->range.size > 0);
}

/* Whatever is one has nothing in it that ends it for somebody else. */
static void check_authority(struct text text) {
    for (uint32_t i = 0; is_authority(text) && i < text.size; i++) {
        uint8_t c = (uint8_t)text.bytes[i];
        FUZZ_CHECK(c > 0x20 && c < 0x7f && !strchr("/\\?#@,\"<>", c));
    }
}

/* The end of a head is found in the same place, however it comes. */
static void check_cuts(const uint8_t *data, size_t size, uint32_t whole, uint32_t whole_status) {
    uint32_t searched = 0;
    for (size_t cut = 1; cut <= size && cut < 300; cut++) {
        uint8_t *copy = copy_of(data, cut);
        uint32_t status;
        uint32_t head = request_head_size(copy, (uint32_t)cut, &limits, &searched, &status);
        free(copy);
        if (status != 0 || head != 0) {
            FUZZ_CHECK(head == whole || whole_status != 0);
            FUZZ_CHECK(status == whole_status || status == 0);
            return;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct request request;
    uint32_t searched = 0;
    uint32_t status;
    if (size == 0 || size > 65536) {
        return 0;
    }
    uint8_t *bytes = copy_of(data, size);
    struct text all = {(const char *)bytes, (uint32_t)size};
    uint32_t head = request_head_size(bytes, (uint32_t)size, &limits, &searched, &status);
    check_cuts(data, size, head, status);
    if (head > 0) {
        request_read(bytes, head, &limits, &request);
        check_within(request.path, bytes, size);
        check_within(request.host, bytes, size);
        check_name(request.path);
        check_ranges(request.range, 10000);
        check_date(request.if_modified_since);
        check_authority(request.host);
        if (request.status == 0) {
            FUZZ_CHECK(request.body != BODY_CHUNKED || request.content_length == 0);
            check_body(&request, bytes + head, size - head);
            check_conditions(&request);
        }
    }
    check_name(all);
    check_authority(all);
    check_ranges(all, 1 + bytes[0] * UINT64_C(0x1000000000));
    check_date(all);
    request = (struct request){.body = BODY_CHUNKED};
    check_body(&request, bytes, size);
    free(bytes);
    return 0;
}
