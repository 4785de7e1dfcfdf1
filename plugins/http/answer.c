#include "http/answer.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "http/conditions.h"
#include "http/date.h"
#include "http/range.h"
#include "http/target.h"

/* -- the head -------------------------------------------------------------- */

struct head {
    uint32_t size;
    char bytes[12288]; /* room for the longest Location, all of "headers" and our own fields */
};

static const char *reason_of(uint32_t status) {
    switch (status) {
    case 200:
        return "OK";
    case 204:
        return "No Content";
    case 206:
        return "Partial Content";
    case 301:
        return "Moved Permanently";
    case 304:
        return "Not Modified";
    case 400:
        return "Bad Request";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 408:
        return "Request Timeout";
    case 412:
        return "Precondition Failed";
    case 413:
        return "Content Too Large";
    case 414:
        return "URI Too Long";
    case 416:
        return "Range Not Satisfiable";
    case 417:
        return "Expectation Failed";
    case 431:
        return "Request Header Fields Too Large";
    case 501:
        return "Not Implemented";
    case 503:
        return "Service Unavailable";
    case 505:
        return "HTTP Version Not Supported";
    default:
        return "Internal Server Error";
    }
}

static void add_bytes(struct head *head, const char *bytes, size_t size) {
    if (size <= sizeof(head->bytes) - head->size) {
        memcpy(head->bytes + head->size, bytes, size);
        head->size += (uint32_t)size;
    }
}

static void answer_add(struct head *head, const char *text) {
    add_bytes(head, text, strlen(text));
}

static void add_number(struct head *head, uint64_t number) {
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    add_bytes(head, digits + at, sizeof(digits) - at);
}

static void answer_start(struct head *head, uint32_t status) {
    char date[DATE_BYTES];
    head->size = 0;
    date_write((int64_t)time(NULL), date);
    answer_add(head, "HTTP/1.1 ");
    add_number(head, status);
    answer_add(head, " ");
    answer_add(head, reason_of(status));
    answer_add(head, "\r\nServer: Berth\r\nDate: ");
    answer_add(head, date);
    answer_add(head, "\r\n");
}

static void add_length(struct head *head, uint64_t length) {
    answer_add(head, "Content-Length: ");
    add_number(head, length);
    answer_add(head, "\r\n");
}

static void answer_finish(struct head *head, const struct site *site,
                          const struct request *request) {
    add_bytes(head, site->fields, site->fields_size);
    if (!request->keep_alive) {
        answer_add(head, "Connection: close\r\n");
    } else if (request->minor == 0) {
        answer_add(head, "Connection: keep-alive\r\n");
    }
    answer_add(head, "\r\n");
}

/* -- without a file -------------------------------------------------------- */

static void send_head(struct berth_conn *conn, struct head *head) {
    conn->host->send(conn, head->bytes, head->size);
    head->size = 0;
}

/* `plain`: further characters that are not escaped, besides letters and digits. */
static void answer_add_escaped(struct head *head, struct text text, const char *plain) {
    static const char hex[] = "0123456789ABCDEF";
    for (uint32_t i = 0; i < text.size; i++) {
        uint8_t c = (uint8_t)text.bytes[i];
        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
            strchr(plain, c)) {
            add_bytes(head, text.bytes + i, 1);
        } else {
            char escaped[3] = {'%', hex[c >> 4], hex[c & 15]};
            add_bytes(head, escaped, 3);
        }
    }
}

/* Redirects to the folder of that name. The name has no leading slash, so that a client cannot name
 * another server. The query is kept; it may be too long for one head. */
static void add_location(struct berth_conn *conn, struct head *head, const char *name,
                         struct text query) {
    answer_add(head, "Location: /");
    answer_add_escaped(head, (struct text){name, (uint32_t)strlen(name)}, "-._~/!$&'()*+,;=@");
    answer_add(head, query.bytes ? "/?" : "/");
    while (query.bytes && query.size > 0) {
        struct text part = {query.bytes, query.size < 1024 ? query.size : 1024};
        send_head(conn, head);
        answer_add_escaped(head, part, "-._~/!$&'()*+,;=@:?%");
        query.bytes += part.size;
        query.size -= part.size;
    }
    answer_add(head, "\r\n");
}

/* `name` is that of the folder to go to, with 301. `size` is the file's, with 416. */
static struct answered answer_say(struct berth_conn *conn, const struct request *request,
                                  uint32_t status, const char *name, uint64_t size) {
    const struct site *site = conn->listener->state;
    struct head head;
    char body[80];
    int length = snprintf(body, sizeof(body), "%u %s\n", (unsigned)status, reason_of(status));
    answer_start(&head, status);
    answer_add(&head, "Content-Type: text/plain; charset=utf-8\r\n");
    add_length(&head, (uint64_t)length);
    if (status == 301) {
        add_location(conn, &head, name, request->query);
    } else if (status == 405) {
        answer_add(&head, "Allow: GET, HEAD, OPTIONS\r\n");
    } else if (status == 416) {
        answer_add(&head, "Content-Range: bytes */");
        add_number(&head, size);
        answer_add(&head, "\r\n");
    } else if (status == 503) {
        answer_add(&head, "Retry-After: 1\r\n");
    }
    answer_finish(&head, site, request);
    if (request->method == METHOD_HEAD) {
        length = 0;
    }
    add_bytes(&head, body, (size_t)length);
    send_head(conn, &head);
    return (struct answered){status, (uint64_t)length};
}

struct answered answer_error(struct berth_conn *conn, const struct request *request,
                             uint32_t status) {
    return answer_say(conn, request, status, "", 0);
}

struct answered answer_options(struct berth_conn *conn, const struct request *request) {
    struct head head;
    answer_start(&head, 204);
    answer_add(&head, "Allow: GET, HEAD, OPTIONS\r\n");
    answer_finish(&head, conn->listener->state, request);
    send_head(conn, &head);
    return (struct answered){204, 0};
}

uint32_t answer_busy(char *text, uint32_t capacity) {
    static const char answer[] = "HTTP/1.1 503 Service Unavailable\r\nServer: Berth\r\n"
                                 "Retry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    if (capacity < sizeof(answer) - 1) {
        return 0;
    }
    memcpy(text, answer, sizeof(answer) - 1);
    return (uint32_t)sizeof(answer) - 1;
}

/* -- files ----------------------------------------------------------------- */

static void send_run(struct berth_conn *conn, const struct entry *entry, uint64_t first,
                     uint64_t size) {
    const struct berth_host *host = conn->host;
    if (size == 0) {
        return;
    }
    if (entry->content.buffer) {
        struct berth_slice part = entry->content;
        part.bytes += first;
        part.size = (uint32_t)size;
        host->buffer_acquire(part.buffer);
        host->send_slices(conn, &part, 1);
        return;
    }
    const struct site *site = conn->listener->state;
    struct berth_piece piece = {.file = entry->file, .offset = first, .size = size};
    site->services->file->acquire(entry->file);
    site->services->file->send_pieces(conn, &piece, 1);
}

static void add_content_range(struct head *head, const struct range *range, uint64_t size) {
    answer_add(head, "Content-Range: bytes ");
    add_number(head, range->first);
    answer_add(head, "-");
    add_number(head, range->first + range->size - 1);
    answer_add(head, "/");
    add_number(head, size);
    answer_add(head, "\r\n");
}

static struct answered send_whole(struct berth_conn *conn, const struct request *request,
                                  const struct entry *entry) {
    struct head head;
    answer_start(&head, 200);
    add_bytes(&head, entry->fields, entry->fields_size);
    add_length(&head, entry->size);
    answer_finish(&head, conn->listener->state, request);
    send_head(conn, &head);
    if (request->method == METHOD_HEAD) {
        return (struct answered){200, 0};
    }
    send_run(conn, entry, 0, entry->size);
    return (struct answered){200, entry->size};
}

static struct answered send_one_range(struct berth_conn *conn, const struct request *request,
                                      const struct entry *entry, const struct range *range) {
    struct head head;
    answer_start(&head, 206);
    add_bytes(&head, entry->fields, entry->fields_size);
    add_content_range(&head, range, entry->size);
    add_length(&head, range->size);
    answer_finish(&head, conn->listener->state, request);
    send_head(conn, &head);
    send_run(conn, entry, range->first, range->size);
    return (struct answered){206, range->size};
}

/* The delimiter between parts of a multipart body. It is random, so that a file cannot contain it
 * on purpose. */
static void make_boundary(struct berth_conn *conn, const struct entry *entry, char boundary[40]) {
    uint64_t first = conn->id * UINT64_C(0x9e3779b97f4a7c15) >> 32;
    uint64_t second = (conn->host->now_ms(conn->host) ^ entry->size) * UINT64_C(0xbf58476d1ce4e5b9);
    snprintf(boundary, 40, "berth-%08llx%016llx", (unsigned long long)first,
             (unsigned long long)second);
}

static void begin_part(struct head *part, const char *boundary, const struct entry *entry,
                       const struct range *range) {
    part->size = 0;
    answer_add(part, "\r\n--");
    answer_add(part, boundary);
    answer_add(part, "\r\nContent-Type: ");
    answer_add(part, entry->type);
    answer_add(part, "\r\n");
    add_content_range(part, range, entry->size);
    answer_add(part, "\r\n");
}

static void add_validators(struct head *head, const struct entry *entry) {
    const char *rest = strstr(entry->fields, "\r\n"); /* all but the type */
    answer_add(head, rest + 2);
}

static struct answered send_ranges(struct berth_conn *conn, const struct request *request,
                                   const struct entry *entry, const struct range *ranges,
                                   uint32_t count) {
    struct head head;
    char boundary[40];
    uint64_t length = 0;
    make_boundary(conn, entry, boundary);
    for (uint32_t i = 0; i < count; i++) {
        begin_part(&head, boundary, entry, &ranges[i]);
        length += head.size + ranges[i].size;
    }
    length += strlen(boundary) + 8; /* "\r\n--" and "--\r\n" */
    answer_start(&head, 206);
    answer_add(&head, "Content-Type: multipart/byteranges; boundary=");
    answer_add(&head, boundary);
    answer_add(&head, "\r\n");
    add_validators(&head, entry);
    add_length(&head, length);
    answer_finish(&head, conn->listener->state, request);
    send_head(conn, &head);
    for (uint32_t i = 0; i < count; i++) {
        begin_part(&head, boundary, entry, &ranges[i]);
        send_head(conn, &head);
        send_run(conn, entry, ranges[i].first, ranges[i].size);
    }
    answer_add(&head, "\r\n--");
    answer_add(&head, boundary);
    answer_add(&head, "--\r\n");
    send_head(conn, &head);
    return (struct answered){206, length};
}

static struct answered send_not_modified(struct berth_conn *conn, const struct request *request,
                                         const struct entry *entry) {
    struct head head;
    answer_start(&head, 304);
    add_validators(&head, entry);
    answer_finish(&head, conn->listener->state, request);
    send_head(conn, &head);
    return (struct answered){304, 0};
}

struct answered answer_entry(struct berth_conn *conn, const struct request *request,
                             struct entry *entry, const char *name) {
    struct range ranges[RANGES_MAX];
    uint32_t count;
    const struct validators now = {entry->etag, entry->modified_s, entry->changed_s,
                                   (int64_t)time(NULL)};
    if (entry->status != 200) {
        return answer_say(conn, request, entry->status, name, 0);
    }
    switch (conditions_check(request, &now)) {
    case 304:
        return send_not_modified(conn, request, entry);
    case 412:
        return answer_say(conn, request, 412, "", 0);
    default:
        break;
    }
    if (conditions_want_range(request, &now)) {
        switch (range_read(request->range, entry->size, ranges, &count)) {
        case 206:
            return count == 1 ? send_one_range(conn, request, entry, ranges)
                              : send_ranges(conn, request, entry, ranges, count);
        case 416:
            return answer_say(conn, request, 416, "", entry->size);
        default:
            break;
        }
    }
    return send_whole(conn, request, entry);
}
