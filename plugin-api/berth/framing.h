/* framing.h: messages in a stream, for the three usual ways of framing. The functions are compiled
 * into the plugin: nothing here crosses the ABI, and no bytes are copied.
 *
 * A function says whether there is a whole frame at the front of the data of `received`:
 *
 *     while ((found = berth_frame_by_length(&framing, bytes, size, &frame)) == BERTH_FRAME_WHOLE) {
 *         handle(bytes + frame.body_offset, frame.body_size);
 *         bytes += frame.size, size -= frame.size, consumed += frame.size;
 *     }
 *     if (found == BERTH_FRAME_PART)
 *         host->want_at_least(conn, frame.want);
 *     else
 *         host->abort(conn);
 *     return consumed;
 *
 * Hostile input is safe: every length is checked against `frame_max` before it is used, and a frame
 * is never empty, so a loop like the one above ends. `frame_max` should be at most the listener's
 * "limits.message_bytes". Threads: any; the functions have no state. */
#ifndef BERTH_FRAMING_H
#define BERTH_FRAMING_H

#include <string.h>

#include "status.h"

BERTH_BEGIN_DECLS

/* The results; or BERTH_E_LIMIT: the frame is longer than frame_max; BERTH_E_INVALID: its length
 * field has an impossible value. */
#define BERTH_FRAME_WHOLE INT32_C(0) /* there is a frame at the front */
#define BERTH_FRAME_PART INT32_C(1)  /* a part of it has not arrived yet */

struct berth_frame {
    uint32_t size;        /* of the whole frame; at least 1 */
    uint32_t body_offset; /* the offset of its content */
    uint32_t body_size;   /* may be 0 */
    uint32_t want;        /* with BERTH_FRAME_PART: so many bytes are needed to know more */
};

/* -- length in front ------------------------------------------------------- */

#define BERTH_LENGTH_LITTLE_ENDIAN UINT32_C(1)

/* The length field follows length_offset other bytes. What follows the field has as many bytes as
 * it says plus `adjust`: 0 where it counts exactly that, -(length_offset + length_bytes) where it
 * counts the whole frame, 2 where a checksum of two bytes follows that it does not count. */
struct berth_length_framing {
    uint32_t length_offset;
    uint32_t length_bytes; /* 1 to 8 */
    uint32_t flags;        /* BERTH_LENGTH_*; most significant byte first without */
    int32_t adjust;
    uint32_t frame_max; /* the longest frame, all of it */
};

/* The body begins after the length field. */
static inline int32_t berth_frame_by_length(const struct berth_length_framing *framing,
                                            const uint8_t *bytes, uint32_t size,
                                            struct berth_frame *frame) {
    const uint64_t header = (uint64_t)framing->length_offset + framing->length_bytes;
    uint64_t length = 0;
    uint32_t i;
    memset(frame, 0, sizeof(*frame));
    if (framing->length_bytes < 1 || framing->length_bytes > 8 || header > framing->frame_max) {
        return BERTH_E_INVALID;
    }
    if (size < header) {
        frame->want = (uint32_t)header;
        return BERTH_FRAME_PART;
    }
    for (i = 0; i < framing->length_bytes; i++) {
        const uint32_t at =
            (framing->flags & BERTH_LENGTH_LITTLE_ENDIAN) != 0 ? framing->length_bytes - 1 - i : i;
        length = length << 8 | bytes[framing->length_offset + at];
    }
    if (framing->adjust < 0 && length < (uint64_t)(-(int64_t)framing->adjust)) {
        return BERTH_E_INVALID; /* it would end before its own length field does */
    }
    if (length > UINT32_MAX) {
        return BERTH_E_LIMIT;
    }
    length = (uint64_t)((int64_t)length + framing->adjust);
    if (length > framing->frame_max - header) {
        return BERTH_E_LIMIT;
    }
    if (size - header < length) {
        frame->want = (uint32_t)(header + length);
        return BERTH_FRAME_PART;
    }
    frame->size = (uint32_t)(header + length);
    frame->body_offset = (uint32_t)header;
    frame->body_size = (uint32_t)length;
    return BERTH_FRAME_WHOLE;
}

/* -- delimiter at the end -------------------------------------------------- */

struct berth_delimiter_framing {
    const char *delimiter;   /* "\n", "\r\n.\r\n", … */
    uint32_t delimiter_size; /* at least 1 */
    uint32_t frame_max;      /* the longest frame, delimiter included */
};

/* The body is what precedes the delimiter. *searched, 0 at first, holds between calls how far the
 * frame at the front has been searched, so that a frame that arrives byte by byte costs no more
 * than one that arrives at once; keep it in the connection's state. */
static inline int32_t berth_frame_by_delimiter(const struct berth_delimiter_framing *framing,
                                               const uint8_t *bytes, uint32_t size,
                                               uint32_t *searched, struct berth_frame *frame) {
    const uint32_t end = size < framing->frame_max ? size : framing->frame_max;
    const uint32_t length = framing->delimiter_size;
    uint32_t at = *searched;
    memset(frame, 0, sizeof(*frame));
    if (length < 1 || length > framing->frame_max) {
        return BERTH_E_INVALID;
    }
    while (at <= end && end - at >= length) {
        const uint8_t *found = (const uint8_t *)memchr(bytes + at, (uint8_t)framing->delimiter[0],
                                                       end - at - (length - 1));
        if (!found) {
            at = end - (length - 1);
            break;
        }
        at = (uint32_t)(found - bytes);
        if (memcmp(found, framing->delimiter, length) == 0) {
            frame->size = at + length;
            frame->body_size = at;
            *searched = 0;
            return BERTH_FRAME_WHOLE;
        }
        at++;
    }
    if (size >= framing->frame_max) {
        return BERTH_E_LIMIT;
    }
    *searched = at;
    frame->want = size + 1;
    return BERTH_FRAME_PART;
}

/* -- fixed size ------------------------------------------------------------ */

static inline int32_t berth_frame_fixed(uint32_t frame_size, uint32_t size,
                                        struct berth_frame *frame) {
    memset(frame, 0, sizeof(*frame));
    if (frame_size < 1) {
        return BERTH_E_INVALID;
    }
    if (size < frame_size) {
        frame->want = frame_size;
        return BERTH_FRAME_PART;
    }
    frame->size = frame_size;
    frame->body_size = frame_size;
    return BERTH_FRAME_WHOLE;
}

BERTH_END_DECLS

#endif
