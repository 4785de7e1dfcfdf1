#include "http/body.h"

#include "http/text.h"

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

/* Limits the bytes besides the data: they cost processing time, too. */
static bool is_too_much(struct body_drain *drain) {
    return ++drain->overhead > OVERHEAD_MAX;
}

/* Handles the byte after a size or a whole extension. Bad whitespace must be accepted (RFC
 * 9110, 5.6.3), but not before the end of the line. */
static uint32_t end_word(struct body_drain *drain, uint8_t c, enum body_state blank) {
    if (c == ';') {
        drain->state = BODY_EXTENSION;
    } else if (char_is_blank(c)) {
        drain->state = (uint8_t)blank;
    } else if (c == '\r' && drain->state != BODY_SIZE_BLANK &&
               drain->state != BODY_EXTENSION_BLANK) {
        drain->state = BODY_SIZE_LF;
    } else {
        return 400;
    }
    return 0;
}

static uint32_t take_size(struct body_drain *drain, uint8_t c) {
    int digit = char_to_digit(c);
    if (digit < 0) {
        return drain->state == BODY_SIZE_FIRST ? 400 : end_word(drain, c, BODY_SIZE_BLANK);
    }
    if (drain->left > UINT64_MAX >> 5) {
        return 413;
    }
    if (drain->state == BODY_SIZE && drain->left == 0 && is_too_much(drain)) {
        return 413;
    }
    drain->left = drain->left * 16 + (uint64_t)digit;
    drain->state = BODY_SIZE;
    return drain->total + drain->left > drain->max ? 413 : 0;
}

/* Continues or begins a token of an extension, in the state `next`; false: not a token byte. */
static bool take_token(struct body_drain *drain, uint8_t c, enum body_state next) {
    if (char_is_token(c)) {
        drain->state = (uint8_t)next;
    }
    return char_is_token(c);
}

static bool body_is_text(uint8_t c) {
    return c == '\t' || (c >= 0x20 && c != 0x7f);
}

/* *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] ): RFC 9112, 7.1.1 */
static uint32_t take_extension(struct body_drain *drain, uint8_t c) {
    if (is_too_much(drain)) {
        return 413;
    }
    switch (drain->state) {
    case BODY_EXTENSION:
        return char_is_blank(c) || take_token(drain, c, BODY_EXTENSION_NAME) ? 0 : 400;
    case BODY_EXTENSION_NAME:
    case BODY_EXTENSION_BLANK:
        if (c == '=') {
            drain->state = BODY_VALUE;
            return 0;
        }
        if (drain->state == BODY_EXTENSION_NAME && char_is_token(c)) {
            return 0;
        }
        return end_word(drain, c, BODY_EXTENSION_BLANK);
    case BODY_VALUE:
        if (c == '"') {
            drain->state = BODY_VALUE_QUOTED;
            return 0;
        }
        return char_is_blank(c) || take_token(drain, c, BODY_VALUE_TOKEN) ? 0 : 400;
    case BODY_VALUE_QUOTED:
        if (c == '"' || c == '\\') {
            drain->state = c == '"' ? BODY_VALUE_END : BODY_VALUE_ESCAPED;
            return 0;
        }
        return body_is_text(c) ? 0 : 400;
    case BODY_VALUE_ESCAPED:
        drain->state = BODY_VALUE_QUOTED;
        return body_is_text(c) ? 0 : 400;
    case BODY_VALUE_TOKEN:
        return char_is_token(c) ? 0 : end_word(drain, c, BODY_SIZE_BLANK);
    default: /* after the quotes, or whitespace */
        return end_word(drain, c, BODY_SIZE_BLANK);
    }
}

/* Trailer fields after the last chunk. Their values are ignored, but their syntax is checked: a
 * proxy in front of the server could take anything else for a request. */
static uint32_t take_trailer(struct body_drain *drain, uint8_t c) {
    if (drain->state == BODY_TRAILER && c == '\r') {
        drain->state = BODY_END_LF;
        return 0;
    }
    if (is_too_much(drain)) {
        return 413;
    }
    if (drain->state == BODY_TRAILER_VALUE) {
        drain->state = c == '\r' ? BODY_TRAILER_LF : BODY_TRAILER_VALUE;
        return c == '\r' || body_is_text(c) ? 0 : 400;
    }
    if (drain->state == BODY_TRAILER_NAME && c == ':') {
        drain->state = BODY_TRAILER_VALUE;
        return 0;
    }
    return take_token(drain, c, BODY_TRAILER_NAME) ? 0 : 400;
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
    case BODY_TRAILER:
    case BODY_TRAILER_NAME:
    case BODY_TRAILER_VALUE:
        return take_trailer(drain, c);
    case BODY_DATA_CR:
        drain->state = BODY_DATA_LF;
        return c == '\r' ? 0 : 400;
    case BODY_DATA_LF:
    case BODY_SIZE_LF:
    case BODY_TRAILER_LF:
    case BODY_END_LF:
        return take_newline(drain, c);
    default:
        return take_extension(drain, c);
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
