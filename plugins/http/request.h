/* request.h: the head of an HTTP/1 request, read strictly.
 *
 * Source: RFC 9112 (syntax, framing), RFC 9110 (fields). Where the RFCs let a recipient be lenient
 * (bare LF, folded lines, blanks before a colon, several equal Content-Lengths), this one is not:
 * two recipients that are lenient in different ways is what request smuggling lives on.
 *
 * Pure functions on borrowed bytes; everything that is found points into them. Threads: any. */
#ifndef BERTH_PLUGINS_HTTP_REQUEST_H
#define BERTH_PLUGINS_HTTP_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

struct text {
    const char *bytes; /* not terminated; NULL: not there */
    uint32_t size;
};

/* Whether they are the same but for the case of letters. `word` is in small letters. */
bool text_is(struct text text, const char *word);
/* The next member of a comma-separated list (RFC 9110, 5.6.1), blanks around it cut off; false when
 * there is none left. `list` is moved on. */
bool text_next(struct text *list, struct text *member);
struct text text_trim(struct text text);

enum method {
    METHOD_GET,
    METHOD_HEAD,
    METHOD_OPTIONS,
    METHOD_OTHER, /* known, and not for static files */
};

enum body {
    BODY_NONE,
    BODY_LENGTH,
    BODY_CHUNKED,
};

struct request_limits {
    uint32_t head_bytes_max; /* all of it */
    uint32_t target_bytes_max;
    uint32_t fields_max;
};

struct request {
    uint32_t status; /* 0, or why it is refused: 400, 414, 431, 501, 505 */
    enum method method;
    uint32_t minor; /* of HTTP/1.x: 0 or 1 */
    struct text target;
    struct text path; /* of the target, still percent-encoded, without the query */
    struct text host;
    bool keep_alive;
    bool expects_continue;
    bool expects_other; /* an expectation nobody knows: 417 */
    enum body body;
    uint64_t content_length;
    struct text range;
    struct text if_range;
    struct text if_match;
    struct text if_none_match;
    struct text if_modified_since;
    struct text if_unmodified_since;
};

/* Looks for the end of the head. Returns its size, the empty line included; 0 when it has not come
 * yet; and with *status set when it never will: 400, 414 or 431. *searched, 0 at first, remembers
 * how far the bytes have been looked through. */
uint32_t request_head_size(const uint8_t *bytes, uint32_t size, const struct request_limits *limits,
                           uint32_t *searched, uint32_t *status);

/* Reads a whole head. What cannot be relied on any more when request->status is not 0 is the
 * framing: the connection ends with the answer. */
void request_read(const uint8_t *bytes, uint32_t size, const struct request_limits *limits,
                  struct request *request);

#endif
