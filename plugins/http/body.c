#include "http/body.h"

enum { OVERHEAD_MAX = 16384 };

void body_begin(struct body_drain *drain, bool chunked, uint64_t length, uint64_t max) {
    *drain = (struct body_drain){
        .state = chunked      ? BODY_SIZE_FIRST
                 : length > 0 ? BODY_DATA
                              : BODY_DONE,
        .chunked = chunked,
        .left = length,
        .max = max,
    };
}

static int digit_of(uint8_t c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static uint32_t take_size(struct body_drain *drain, uint8_t c) {
    int digit = digit_of(c);
    if (digit >= 0) {
        if (drain->left > UINT64_MAX >> 5) {
            return 413;
        }
        drain->left = drain->left * 16 + (uint64_t)digit;
        drain->state = BODY_SIZE;
        return drain->total + drain->left > drain->max ? 413 : 0;
    }
    if (drain->state == BODY_SIZE_FIRST || (c != ';' && c != '\r')) {
        return 400;
    }
    drain->state = c == ';' ? BODY_EXTENSION : BODY_SIZE_LF;
    return 0;
}

/* Extensions and trailers are looked through for what could end them otherwise than by CRLF. */
static uint32_t take_text(struct body_drain *drain, uint8_t c, enum body_state line,
                          enum body_state end) {
    if (++drain->overhead > OVERHEAD_MAX) {
        return 413;
    }
    if ((c < 0x20 && c != '\t' && c != '\r') || c == 0x7f) {
        return 400;
    }
    drain->state = (uint8_t)(c == '\r' ? end : line);
    return 0;
}

static uint32_t take_newline(struct body_drain *drain, uint8_t c) {
    if (c != '\n') {
        return 400;
    }
    switch (drain->state) {
    case BODY_DATA_LF:
        drain->left = 0;
        drain->state = BODY_SIZE_FIRST;
        return 0;
    case BODY_SIZE_LF:
        drain->state = drain->left > 0 ? BODY_DATA : BODY_TRAILER;
        return 0;
    case BODY_TRAILER_LF:
        drain->state = BODY_TRAILER;
        return 0;
    default:
        drain->state = BODY_DONE;
        return 0;
    }
}

static uint32_t take_one(struct body_drain *drain, uint8_t c) {
    switch (drain->state) {
    case BODY_SIZE_FIRST:
    case BODY_SIZE:
        return take_size(drain, c);
    case BODY_EXTENSION:
        return take_text(drain, c, BODY_EXTENSION, BODY_SIZE_LF);
    case BODY_TRAILER:
        if (c == '\r') {
            drain->state = BODY_END_LF;
            return 0;
        }
        return c == ' ' || c == '\t' || c == ':'
                   ? 400
                   : take_text(drain, c, BODY_TRAILER_LINE, BODY_TRAILER_LF);
    case BODY_TRAILER_LINE:
        return take_text(drain, c, BODY_TRAILER_LINE, BODY_TRAILER_LF);
    case BODY_DATA_CR:
        drain->state = BODY_DATA_LF;
        return c == '\r' ? 0 : 400;
    default:
        return take_newline(drain, c);
    }
}

uint32_t body_take(struct body_drain *drain, const uint8_t *bytes, uint32_t size,
                   uint32_t *status) {
    uint32_t at = 0;
    *status = !drain->chunked && drain->left > drain->max ? 413 : 0;
    while (*status == 0 && at < size && drain->state != BODY_DONE) {
        if (drain->state == BODY_DATA) {
            uint32_t run = size - at < drain->left ? size - at : (uint32_t)drain->left;
            at += run;
            drain->left -= run;
            drain->total += run;
            if (drain->left == 0) {
                drain->state = drain->chunked ? BODY_DATA_CR : BODY_DONE;
            }
        } else {
            *status = take_one(drain, bytes[at++]);
        }
    }
    return at;
}
