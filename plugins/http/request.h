/* request.h: the head of an HTTP/1 request, read strictly.
 *
 * Source: RFC 9112 (syntax, framing), RFC 9110 (fields). Where the RFCs let a recipient be lenient
 * (bare LF, folded lines, blanks before a colon, several equal Content-Lengths), this one is not:
 * request smuggling needs two recipients that are lenient in different ways.
 *
 * Pure functions on borrowed bytes; everything that is found points into them. Threads: any. */
#ifndef BERTH_PLUGINS_HTTP_REQUEST_H
#define BERTH_PLUGINS_HTTP_REQUEST_H

#include "http/text.h"

enum method {
    METHOD_GET,
    METHOD_HEAD,
    METHOD_OPTIONS,
    METHOD_CONNECT, /* this one and the following are known, but not for static files */
    METHOD_OTHER,
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
    struct text path;  /* of the target, still percent-encoded, without the query */
    struct text query; /* after the "?" */
    struct text host;
    bool keep_alive;
    bool expects_continue;
    bool expects_other; /* an unknown expectation: 417 */
    enum body body;
    uint64_t content_length;
    bool has_if_match; /* lists: request_next_value() */
    bool has_if_none_match;
    struct text fields; /* all of them, as received */
    struct text range;
    struct text if_range;
    struct text if_modified_since;
    struct text if_unmodified_since;
};

/* Looks for the end of the head. Returns its size, the empty line included; 0: not received yet, or
 * with *status set, invalid: 400, 414 or 431. *searched, 0 at first, is the number of bytes already
 * searched. */
uint32_t request_head_size(const uint8_t *bytes, uint32_t size, const struct request_limits *limits,
                           uint32_t *searched, uint32_t *status);

/* Parses a whole head. If request->status is not 0, the framing is unreliable: the connection ends
 * with the response. */
void request_read(const uint8_t *bytes, uint32_t size, const struct request_limits *limits,
                  struct request *request);

/* The value of the next field of that name, in small letters; `fields`, at first those of the
 * request, is moved past it. False: there is no further one. */
bool request_next_value(struct text *fields, const char *name, struct text *value);

#endif
