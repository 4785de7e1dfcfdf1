#include "http/request.h"

#include <string.h>

#include "http/authority.h"

/* RFC 9110, 5.5: field-value without obs-fold */
static bool is_value(struct text text) {
    for (uint32_t i = 0; i < text.size; i++) {
        uint8_t c = (uint8_t)text.bytes[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return false;
        }
    }
    return true;
}

/* The status of a too long head: the first line has a limit of its own. */
static uint32_t too_long(const uint8_t *bytes, uint32_t size, const struct request_limits *limits) {
    uint32_t line = limits->target_bytes_max + 32;
    return memchr(bytes, '\n', line < size ? line : size) ? 431 : 414;
}

/* -- where the head ends --------------------------------------------------- */

uint32_t request_head_size(const uint8_t *bytes, uint32_t size, const struct request_limits *limits,
                           uint32_t *searched, uint32_t *status) {
    const uint8_t *at = bytes + *searched;
    const uint8_t *end = bytes + size;
    const uint8_t *newline;
    *status = 0;
    if (size > 0 && !char_is_token(bytes[0])) {
        *status = 400; /* no method begins like that: for example TLS */
        return 0;
    }
    while ((newline = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        uint32_t place = (uint32_t)(newline - bytes);
        if (place == 0 || bytes[place - 1] != '\r') {
            *status = 400;
            return 0;
        }
        if (place >= 3 && bytes[place - 2] == '\n') {
            *status = place >= limits->head_bytes_max ? too_long(bytes, size, limits) : 0;
            return *status == 0 ? place + 1 : 0;
        }
        at = newline + 1;
    }
    *searched = size;
    if (size > limits->head_bytes_max) {
        *status = too_long(bytes, size, limits);
    }
    return 0;
}

/* -- the first line -------------------------------------------------------- */

/* Methods are case-sensitive. */
static uint32_t read_method(struct text word, struct request *request) {
    static const struct {
        const char *name;
        enum method method;
    } known[] = {
        {"GET", METHOD_GET},         {"HEAD", METHOD_HEAD},   {"OPTIONS", METHOD_OPTIONS},
        {"POST", METHOD_OTHER},      {"PUT", METHOD_OTHER},   {"DELETE", METHOD_OTHER},
        {"CONNECT", METHOD_CONNECT}, {"TRACE", METHOD_OTHER}, {"PATCH", METHOD_OTHER},
    };
    if (!text_is_token(word)) {
        return 400;
    }
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strlen(known[i].name) == word.size &&
            memcmp(known[i].name, word.bytes, word.size) == 0) {
            request->method = known[i].method;
            return 0;
        }
    }
    return 501;
}

/* Removes the authority after "http://"; false: invalid. An empty path is "/". */
static bool take_authority(struct text *path) {
    uint32_t size = 0;
    while (size < path->size && path->bytes[size] != '/' && path->bytes[size] != '?') {
        size++;
    }
    if (!is_authority((struct text){path->bytes, size})) {
        return false;
    }
    path->bytes += size;
    path->size -= size;
    return true;
}

/* The path and the query of "/path?query", "http://host/path?query" and, for OPTIONS, "*". */
static uint32_t read_target(struct text target, struct request *request) {
    struct text path = target;
    for (uint32_t i = 0; i < target.size; i++) {
        uint8_t c = (uint8_t)target.bytes[i];
        if (c <= 0x20 || c >= 0x7f || c == '#') {
            return 400;
        }
    }
    request->target = target;
    if (request->method == METHOD_CONNECT) { /* "host:port", and the port has no default */
        return is_authority(target) && char_to_digit((uint8_t)target.bytes[target.size - 1]) >= 0 &&
                       memchr(target.bytes, ':', target.size)
                   ? 0
                   : 400;
    }
    if (request->method == METHOD_OPTIONS && target.size == 1 && target.bytes[0] == '*') {
        request->path = target;
        return 0;
    }
    if (target.size > 7 && text_is((struct text){target.bytes, 7}, "http://")) {
        path = (struct text){target.bytes + 7, target.size - 7};
        if (!take_authority(&path)) {
            return 400;
        }
    } else if (target.size == 0 || target.bytes[0] != '/') {
        return 400;
    }
    if (text_until(&path, '?', &request->path)) {
        request->query = path;
    } else {
        request->path = path;
    }
    if (request->path.size == 0) {
        request->path = (struct text){"/", 1};
    }
    return 0;
}

static uint32_t request_read_version(struct text version, struct request *request) {
    bool shaped = version.size == 8 && memcmp(version.bytes, "HTTP/", 5) == 0 &&
                  version.bytes[5] >= '0' && version.bytes[5] <= '9' && version.bytes[6] == '.' &&
                  version.bytes[7] >= '0' && version.bytes[7] <= '9';
    if (!shaped) {
        return 400;
    }
    if (version.bytes[5] != '1') {
        return 505;
    }
    request->minor = version.bytes[7] == '0' ? 0 : 1; /* RFC 9110, 2.5: a higher one is taken so */
    return 0;
}

static uint32_t read_first_line(struct text line, const struct request_limits *limits,
                                struct request *request) {
    struct text method;
    struct text target;
    if (!text_until(&line, ' ', &method) || !text_until(&line, ' ', &target)) {
        return 400;
    }
    uint32_t unknown = read_method(method, request);
    if (unknown == 400) {
        return 400;
    }
    if (target.size > limits->target_bytes_max) {
        return 414;
    }
    uint32_t status = request_read_version(line, request);
    if (status == 0 && unknown == 0) {
        status = read_target(target, request);
    }
    return status != 0 ? status : unknown;
}

/* -- fields ---------------------------------------------------------------- */

enum { FIELD_HOST = 1, FIELD_LENGTH = 2, FIELD_CODING = 4 };

struct reading {
    struct request *request;
    uint32_t seen; /* FIELD_* */
    bool closes;   /* "Connection: close", which wins over "keep-alive" */
};

static uint32_t read_host(struct reading *reading, struct text value) {
    if ((reading->seen & FIELD_HOST) != 0) {
        return 400;
    }
    if (value.size > 0 && !is_authority(value)) {
        return 400;
    }
    reading->seen |= FIELD_HOST;
    reading->request->host = value;
    return 0;
}

static uint32_t read_content_length(struct reading *reading, struct text value) {
    uint64_t length = 0;
    if ((reading->seen & FIELD_LENGTH) != 0 || value.size == 0) {
        return 400;
    }
    for (uint32_t i = 0; i < value.size; i++) {
        uint8_t c = (uint8_t)value.bytes[i];
        if (c < '0' || c > '9' || length > (UINT64_MAX - 9) / 10) {
            return 400;
        }
        length = length * 10 + (c - '0');
    }
    reading->seen |= FIELD_LENGTH;
    reading->request->content_length = length;
    reading->request->body = length > 0 ? BODY_LENGTH : BODY_NONE;
    return 0;
}

/* Only "chunked" is supported. Another coding before it is 501. If "chunked" is not the last
 * coding, is repeated, or has parameters, the end of the body is unknown: 400 (RFC 9112, 6.3). */
static uint32_t read_transfer_encoding(struct reading *reading, struct text value) {
    struct text member;
    struct text last = {0};
    uint32_t count = 0;
    uint32_t chunked = 0;
    if ((reading->seen & FIELD_CODING) != 0) {
        return 400;
    }
    reading->seen |= FIELD_CODING;
    while (text_next(&value, &member)) {
        chunked += text_is(member, "chunked") ? 1 : 0;
        last = member;
        count++;
        if (!text_is_token(member) && !memchr(member.bytes, ';', member.size)) {
            return 400;
        }
    }
    if (chunked != 1 || !text_is(last, "chunked")) {
        return 400;
    }
    reading->request->body = BODY_CHUNKED;
    return count == 1 ? 0 : 501;
}

static void read_connection(struct reading *reading, struct text value) {
    struct text member;
    while (text_next(&value, &member)) {
        if (text_is(member, "close")) {
            reading->closes = true;
        } else if (text_is(member, "keep-alive")) {
            reading->request->keep_alive = true;
        }
    }
}

static void read_expect(struct request *request, struct text value) {
    struct text member;
    while (text_next(&value, &member)) {
        if (text_is(member, "100-continue")) {
            request->expects_continue = true;
        } else {
            request->expects_other = true;
        }
    }
}

/* Lists may stand in several fields, which are then read by request_next_value(). A field that must
 * be unique is ignored if it is repeated. */
static void read_condition(struct request *request, struct text name, struct text value) {
    const struct {
        const char *name;
        struct text *target;
    } fields[] = {
        {"range", &request->range},
        {"if-range", &request->if_range},
        {"if-modified-since", &request->if_modified_since},
        {"if-unmodified-since", &request->if_unmodified_since},
    };
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (text_is(name, fields[i].name)) {
            *fields[i].target = fields[i].target->bytes ? (struct text){"", 0} : value;
        }
    }
    request->has_if_match = request->has_if_match || text_is(name, "if-match");
    request->has_if_none_match = request->has_if_none_match || text_is(name, "if-none-match");
}

static uint32_t read_field(struct reading *reading, struct text line) {
    struct text name;
    if (!text_until(&line, ':', &name) || !text_is_token(name) || !is_value(line)) {
        return 400; /* also a folded line, and whitespace before the colon */
    }
    struct text value = text_trim(line);
    switch (name.bytes[0] | 0x20) { /* most fields are not needed here */
    case 'h':
        return text_is(name, "host") ? read_host(reading, value) : 0;
    case 'c':
        if (text_is(name, "content-length")) {
            return read_content_length(reading, value);
        }
        if (text_is(name, "connection")) {
            read_connection(reading, value);
        }
        return 0;
    case 't':
        return text_is(name, "transfer-encoding") ? read_transfer_encoding(reading, value) : 0;
    case 'e':
        if (text_is(name, "expect")) {
            read_expect(reading->request, value);
        }
        return 0;
    case 'r':
    case 'i':
        read_condition(reading->request, name, value);
        return 0;
    default:
        return 0;
    }
}

/* Checks the fields in combination. */
static uint32_t request_settle(const struct reading *reading) {
    struct request *request = reading->request;
    request->keep_alive = !reading->closes && (request->minor == 1 || request->keep_alive);
    if (request->minor == 0) { /* whose clients expect nothing: RFC 9110, 10.1.1 */
        request->expects_continue = false;
        request->expects_other = false;
    }
    if (request->minor == 1 && (reading->seen & FIELD_HOST) == 0) {
        return 400;
    }
    if ((reading->seen & FIELD_CODING) != 0 &&
        ((reading->seen & FIELD_LENGTH) != 0 || request->minor == 0)) {
        return 400; /* RFC 9112, 6.1 and 6.3: prevents request smuggling */
    }
    return 0;
}

/* False at the empty line, which is the last one. */
static bool next_line(struct text *rest, struct text *line) {
    if (!text_until(rest, '\n', line) || line->size <= 1) {
        return false;
    }
    line->size--; /* the CR, which request_head_size() has seen */
    return true;
}

bool request_next_value(struct text *fields, const char *name, struct text *value) {
    struct text line;
    struct text word;
    while (next_line(fields, &line)) {
        if (text_until(&line, ':', &word) && text_is(word, name)) {
            *value = text_trim(line);
            return true;
        }
    }
    return false;
}

static uint32_t request_read_fields(struct text rest, const struct request_limits *limits,
                                    struct request *request) {
    struct reading reading = {.request = request};
    struct text line;
    uint32_t status = 0;
    uint32_t count = 0;
    uint32_t refused = 0;
    request->fields = rest;
    while (next_line(&rest, &line)) {
        status = memchr(line.bytes, '\r', line.size) ? 400 : read_field(&reading, line);
        if (status == 400) {
            return status;
        }
        refused = status != 0 ? status : refused; /* not supported; a 400 may follow */
        if (++count > limits->fields_max) {
            return 431;
        }
    }
    status = request_settle(&reading);
    return status != 0 ? status : refused;
}

void request_read(const uint8_t *bytes, uint32_t size, const struct request_limits *limits,
                  struct request *request) {
    struct text rest = {(const char *)bytes, size};
    struct text line;
    *request = (struct request){.status = 400};
    if (!text_until(&rest, '\n', &line) || line.size == 0) {
        return;
    }
    line.size--;
    uint32_t first = read_first_line(line, limits, request);
    uint32_t fields = first == 400 || first == 505 ? 0 : request_read_fields(rest, limits, request);
    request->status = fields == 400 || first == 0 ? fields : first;
    if (request->status != 0) {
        request->keep_alive = false;
    }
}
