/* Framing on hostile bytes: whatever comes, in whatever pieces, a frame lies within what came, the
 * same frames are found however the bytes are cut, and it ends.
 *
 * Input: kind, four bytes of settings, how it is cut, then the stream. */
#include <stdbool.h>
#include <stdlib.h>

#include "berth/framing.h"
#include "fuzz.h"

enum { HEAD = 6, FRAMES_MAX = 64, STREAM_MAX = 4096 };

struct setup {
    uint8_t kind; /* 0 length, 1 delimiter, 2 fixed */
    struct berth_length_framing by_length;
    struct berth_delimiter_framing by_delimiter;
    uint32_t fixed;
    uint32_t searched;
};

static int32_t find(struct setup *setup, const uint8_t *bytes, uint32_t size,
                    struct berth_frame *frame) {
    switch (setup->kind) {
    case 0:
        return berth_frame_by_length(&setup->by_length, bytes, size, frame);
    case 1:
        return berth_frame_by_delimiter(&setup->by_delimiter, bytes, size, &setup->searched, frame);
    default:
        return berth_frame_fixed(setup->fixed, size, frame);
    }
}

static uint32_t frame_max(const struct setup *setup) {
    return setup->kind == 0   ? setup->by_length.frame_max
           : setup->kind == 1 ? setup->by_delimiter.frame_max
                              : setup->fixed;
}

static struct setup setup_of(const uint8_t *head) {
    static const char *const delimiters[] = {"\n", "\r\n", "\r\n.\r\n", "aab"};
    const char *delimiter = delimiters[head[1] % 4];
    struct setup setup = {
        .kind = head[0] % 3,
        .by_length = {.length_offset = head[1] % 8,
                      .length_bytes = head[2] % 10,
                      .flags = head[3] & 1,
                      .adjust = (int8_t)head[4],
                      .frame_max = (uint32_t)head[3] * 4},
        .by_delimiter = {.delimiter = delimiter,
                         .delimiter_size = (uint32_t)strlen(delimiter),
                         .frame_max = (uint32_t)head[3] * 4},
        .fixed = head[2],
    };
    return setup;
}

/* The frames' sizes, as they are found when the bytes come `step` at a time; 0 ends the list, and
 * the verdict on the rest comes behind it. */
static void run(const uint8_t *head, const uint8_t *stream, uint32_t size, uint32_t step,
                int64_t *found) {
    struct setup setup = setup_of(head);
    uint32_t front = 0;
    unsigned count = 0;
    int32_t verdict = BERTH_FRAME_PART;
    for (uint32_t come = step < size ? step : size;;
         come = size - come > step ? come + step : size) {
        /* A copy of just what is there, so that a sanitizer sees every byte read behind it. */
        uint32_t there = come - front;
        uint8_t *bytes = malloc(there > 0 ? there : 1);
        memcpy(bytes, stream + front, there);
        uint32_t at = 0;
        struct berth_frame frame = {0};
        while (count < FRAMES_MAX &&
               (verdict = find(&setup, bytes + at, there - at, &frame)) == BERTH_FRAME_WHOLE) {
            FUZZ_CHECK(frame.size > 0 && frame.size <= there - at);
            FUZZ_CHECK(frame.size <= frame_max(&setup));
            FUZZ_CHECK(frame.body_offset <= frame.size);
            FUZZ_CHECK(frame.body_size <= frame.size - frame.body_offset);
            found[count++] = frame.size;
            at += frame.size;
        }
        if (verdict == BERTH_FRAME_PART) {
            FUZZ_CHECK(frame.want > there - at && frame.want <= frame_max(&setup));
        }
        front += at;
        free(bytes);
        if (come == size || verdict < 0 || count == FRAMES_MAX) {
            break;
        }
    }
    found[count] = 0;
    found[count + 1] = verdict;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < HEAD || size > STREAM_MAX) {
        return 0;
    }
    int64_t at_once[FRAMES_MAX + 2] = {0};
    int64_t in_pieces[FRAMES_MAX + 2] = {0};
    uint32_t stream = (uint32_t)size - HEAD;
    run(data, data + HEAD, stream, stream > 0 ? stream : 1, at_once);
    run(data, data + HEAD, stream, 1 + data[5] % 16, in_pieces);
    FUZZ_CHECK(memcmp(at_once, in_pieces, sizeof(at_once)) == 0);
    return 0;
}
