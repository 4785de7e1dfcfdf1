#include "http/answer.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "http/date.h"
#include "http/range.h"
#include "http/target.h"

/* -- the head ------------------------------------------------------------------------------------
 */

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

static void add(struct head *head, const char *text) {
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

static void begin(struct head *head, uint32_t status) {
    char date[DATE_BYTES];
    head->size = 0;
    date_write((int64_t)time(NULL), date);
    add(head, "HTTP/1.1 ");
    add_number(head, status);
    add(head, " ");
    add(head, reason_of(status));
    add(head, "\r\nServer: Berth\r\nDate: ");
    add(head, date);
    add(head, "\r\n");
}

static void add_length(struct head *head, uint64_t length) {
    add(head, "Content-Length: ");
    add_number(head, length);
    add(head, "\r\n");
}

static void end(struct head *head, const struct site *site, const struct request *request) {
    add_bytes(head, site->fields, site->fields_size);
    if (!request || !request->keep_alive) {
        add(head, "Connection: close\r\n");
    } else if (request->minor == 0) {
        add(head, "Connection: keep-alive\r\n");
    }
    add(head, "\r\n");
}

/* -- without a file ------------------------------------------------------------------------------
 */

static void add_escaped(struct head *head, const char *name) {
    static const char hex[] = "0123456789ABCDEF";
    for (; *name != '\0'; name++) {
        uint8_t c = (uint8_t)*name;
        if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
            strchr("-._~/!$&'()*+,;=@", c)) {
            add_bytes(head, name, 1);
        } else {
            char escaped[3] = {'%', hex[c >> 4], hex[c & 15]};
            add_bytes(head, escaped, 3);
        }
    }
}

/* `name` is that of the folder to go to, with 301. `size` is the file's, with 416. */
static struct answered say(struct berth_conn *conn, const struct request *request, uint32_t status,
                           const char *name, uint64_t size) {
    const struct site *site = conn->listener->state;
    struct head head;
    char body[80];
    int length = snprintf(body, sizeof(body), "%u %s\n", (unsigned)status, reason_of(status));
    begin(&head, status);
    add(&head, "Content-Type: text/plain; charset=utf-8\r\n");
    add_length(&head, (uint64_t)length);
    if (status == 301) {
        add(&head, "Location: /");
        add_escaped(&head, name);
        add(&head, "/\r\n");
    } else if (status == 405) {
        add(&head, "Allow: GET, HEAD, OPTIONS\r\n");
    } else if (status == 416) {
        add(&head, "Content-Range: bytes */");
        add_number(&head, size);
        add(&head, "\r\n");
    } else if (status == 503) {
        add(&head, "Retry-After: 1\r\n");
    }
    end(&head, site, request);
    if (request && request->method == METHOD_HEAD) {
        length = 0;
    }
    add_bytes(&head, body, (size_t)length);
    conn->host->send(conn, head.bytes, head.size);
    return (struct answered){status, (uint64_t)length};
}

struct answered answer_error(struct berth_conn *conn, const struct request *request,
                             uint32_t status) {
    return say(conn, request, status, "", 0);
}

struct answered answer_options(struct berth_conn *conn, const struct request *request) {
    struct head head;
    begin(&head, 204);
    add(&head, "Allow: GET, HEAD, OPTIONS\r\n");
    end(&head, conn->listener->state, request);
    conn->host->send(conn, head.bytes, head.size);
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

/* -- conditions: RFC 9110, 13 --------------------------------------------------------------------
 */

/* Whether the list of tags has the entry's; a weak one ("W/…") counts where `weak` is. */
static bool has_tag(struct text list, const char *etag, bool weak) {
    struct text member;
    while (text_next(&list, &member)) {
        if (member.size == 1 && member.bytes[0] == '*') {
            return true;
        }
        if (weak && member.size > 2 && memcmp(member.bytes, "W/", 2) == 0) {
            member.bytes += 2;
            member.size -= 2;
        }
        if (member.size == strlen(etag) && memcmp(member.bytes, etag, member.size) == 0) {
            return true;
        }
    }
    return false;
}

/* Whether the file has been modified after that date; `unknown` when that is none. */
static bool is_newer(struct text date, const struct entry *entry, bool unknown) {
    int64_t then;
    if (!date_read(date, (int64_t)time(NULL), &then)) {
        return unknown;
    }
    return entry->modified_s > then;
}

/* 200, 304 or 412, in the order of RFC 9110, 13.2.2. */
static uint32_t check_conditions(const struct request *request, const struct entry *entry) {
    if (request->if_match.size > 0) {
        if (!has_tag(request->if_match, entry->etag, false)) {
            return 412;
        }
    } else if (request->if_unmodified_since.size > 0 &&
               is_newer(request->if_unmodified_since, entry, false)) {
        return 412;
    }
    if (request->if_none_match.size > 0) {
        return has_tag(request->if_none_match, entry->etag, true) ? 304 : 200;
    }
    if (request->if_modified_since.size > 0) {
        return is_newer(request->if_modified_since, entry, true) ? 200 : 304;
    }
    return 200;
}

/* Whether a Range counts: If-Range, when there is one, must name the file as it is now. */
static bool wants_range(const struct request *request, const struct entry *entry) {
    int64_t then;
    if (request->range.size == 0 || request->method != METHOD_GET) {
        return false;
    }
    if (!request->if_range.bytes) {
        return true;
    }
    if (request->if_range.size > 0 && request->if_range.bytes[0] == '"') {
        return has_tag(request->if_range, entry->etag, false);
    }
    return date_read(request->if_range, (int64_t)time(NULL), &then) && then == entry->modified_s;
}

/* -- files ---------------------------------------------------------------------------------------
 */

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
    add(head, "Content-Range: bytes ");
    add_number(head, range->first);
    add(head, "-");
    add_number(head, range->first + range->size - 1);
    add(head, "/");
    add_number(head, size);
    add(head, "\r\n");
}

static struct answered send_whole(struct berth_conn *conn, const struct request *request,
                                  const struct entry *entry) {
    struct head head;
    begin(&head, 200);
    add_bytes(&head, entry->fields, entry->fields_size);
    add_length(&head, entry->size);
    end(&head, conn->listener->state, request);
    conn->host->send(conn, head.bytes, head.size);
    if (request->method == METHOD_HEAD) {
        return (struct answered){200, 0};
    }
    send_run(conn, entry, 0, entry->size);
    return (struct answered){200, entry->size};
}

static struct answered send_one_range(struct berth_conn *conn, const struct request *request,
                                      const struct entry *entry, const struct range *range) {
    struct head head;
    begin(&head, 206);
    add_bytes(&head, entry->fields, entry->fields_size);
    add_content_range(&head, range, entry->size);
    add_length(&head, range->size);
    end(&head, conn->listener->state, request);
    conn->host->send(conn, head.bytes, head.size);
    send_run(conn, entry, range->first, range->size);
    return (struct answered){206, range->size};
}

/* What stands between two parts of a multipart body. Cannot be foreseen by who made the file. */
static void make_boundary(struct berth_conn *conn, const struct entry *entry, char boundary[40]) {
    snprintf(boundary, 40, "berth-%08llx%016llx",
             (unsigned long long)(conn->id * UINT64_C(0x9e3779b97f4a7c15) >> 32),
             (unsigned long long)((conn->host->now_ms(conn->host) ^ entry->size) *
                                  UINT64_C(0xbf58476d1ce4e5b9)));
}

static void begin_part(struct head *part, const char *boundary, const struct entry *entry,
                       const struct range *range) {
    part->size = 0;
    add(part, "\r\n--");
    add(part, boundary);
    add(part, "\r\nContent-Type: ");
    add(part, entry->type);
    add(part, "\r\n");
    add_content_range(part, range, entry->size);
    add(part, "\r\n");
}

static void add_validators(struct head *head, const struct entry *entry) {
    const char *rest = strstr(entry->fields, "\r\n"); /* all but the type */
    add(head, rest + 2);
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
    begin(&head, 206);
    add(&head, "Content-Type: multipart/byteranges; boundary=");
    add(&head, boundary);
    add(&head, "\r\n");
    add_validators(&head, entry);
    add_length(&head, length);
    end(&head, conn->listener->state, request);
    conn->host->send(conn, head.bytes, head.size);
    for (uint32_t i = 0; i < count; i++) {
        begin_part(&head, boundary, entry, &ranges[i]);
        conn->host->send(conn, head.bytes, head.size);
        send_run(conn, entry, ranges[i].first, ranges[i].size);
    }
    head.size = 0;
    add(&head, "\r\n--");
    add(&head, boundary);
    add(&head, "--\r\n");
    conn->host->send(conn, head.bytes, head.size);
    return (struct answered){206, length};
}

static struct answered send_not_modified(struct berth_conn *conn, const struct request *request,
                                         const struct entry *entry) {
    struct head head;
    begin(&head, 304);
    add_validators(&head, entry);
    end(&head, conn->listener->state, request);
    conn->host->send(conn, head.bytes, head.size);
    return (struct answered){304, 0};
}

struct answered answer_entry(struct berth_conn *conn, const struct request *request,
                             struct entry *entry, const char *name) {
    struct range ranges[RANGES_MAX];
    uint32_t count;
    if (entry->status != 200) {
        return say(conn, request, entry->status, name, 0);
    }
    switch (check_conditions(request, entry)) {
    case 304:
        return send_not_modified(conn, request, entry);
    case 412:
        return say(conn, request, 412, "", 0);
    default:
        break;
    }
    if (wants_range(request, entry)) {
        switch (range_read(request->range, entry->size, ranges, &count)) {
        case 206:
            return count == 1 ? send_one_range(conn, request, entry, ranges)
                              : send_ranges(conn, request, entry, ranges, count);
        case 416:
            return say(conn, request, 416, "", entry->size);
        default:
            break;
        }
    }
    return send_whole(conn, request, entry);
}
