/* What pop3 makes of hostile bytes. Lines: a command lies within what came, more bytes never change
 * the word on those that were enough, and it ends. Messages: taken back, what is sent is the same
 * however the message is cut into pieces, as long as was announced, and has no end within.
 *
 * Input: what it is, how it is cut, lines of the body that are wanted, then the bytes.
 *
 * Links: plugins/pop3/command.c plugins/pop3/stuffing.c */
#include <string.h>

#include "fuzz.h"
#include "pop3/command.h"
#include "pop3/stuffing.h"

enum { HEAD = 3, BYTES_MAX = 4096 };

static void check_command(const uint8_t *line, const struct command *command) {
    FUZZ_CHECK(command->size > 0 && command->size <= COMMAND_BYTES_MAX);
    FUZZ_CHECK(line[command->size - 1] == '\n');
    if (command->kind == COMMAND_UNKNOWN) {
        return;
    }
    FUZZ_CHECK(command->text_at + command->text_size < command->size);
    FUZZ_CHECK(command->digest_at + command->digest_size < command->size);
    for (uint32_t i = 0; i < command->text_size; i++) {
        FUZZ_CHECK(line[command->text_at + i] >= 0x20);
    }
    FUZZ_CHECK(command->kind != COMMAND_APOP || command->digest_size > 0);
    FUZZ_CHECK(command->kind != COMMAND_TOP || command->count == 2);
}

static void try_commands(const uint8_t *bytes, uint32_t size) {
    uint32_t at = 0;
    struct command command;
    enum command_verdict verdict;
    while ((verdict = command_read(bytes + at, size - at, &command)) == COMMAND_WHOLE) {
        check_command(bytes + at, &command);
        for (uint32_t cut = 0; cut < command.size; cut++) {
            struct command part;
            uint8_t *copy = malloc(cut > 0 ? cut : 1); /* so that a read beyond it is seen */
            memcpy(copy, bytes + at, cut);
            FUZZ_CHECK(command_read(copy, cut, &part) == COMMAND_PART);
            free(copy);
        }
        at += command.size;
    }
    FUZZ_CHECK((verdict == COMMAND_TOO_LONG) == (size - at >= COMMAND_BYTES_MAX));
}

/* The bytes of the message as they are sent, in pieces of `step`. */
static uint32_t send(const uint8_t *bytes, uint32_t size, uint32_t step, uint32_t lines,
                     uint8_t *sent) {
    struct stuffing stuffing;
    uint32_t count = 0;
    stuffing_init(&stuffing, lines);
    for (uint32_t at = 0; at < size; at += step) {
        uint32_t part = size - at < step ? size - at : step;
        uint8_t *room = malloc((size_t)part * 2);
        uint32_t made = stuffing_add(&stuffing, bytes + at, part, room);
        FUZZ_CHECK(made <= part * 2);
        memcpy(sent + count, room, made);
        free(room);
        count += made;
    }
    return count + stuffing_end(&stuffing, sent + count);
}

/* As a client takes it: up to a line that is just a dot, without the dots in front. */
static uint32_t receive(const uint8_t *sent, uint32_t size, uint32_t *lines) {
    uint32_t octets = 0;
    uint32_t at = 0;
    *lines = 0;
    for (;;) {
        const uint8_t *newline = memchr(sent + at, '\n', size - at);
        FUZZ_CHECK(newline && newline > sent + at && newline[-1] == '\r');
        uint32_t length = (uint32_t)(newline + 1 - (sent + at));
        if (length == 3 && sent[at] == '.') {
            FUZZ_CHECK(at + length == size);
            return octets;
        }
        FUZZ_CHECK(sent[at] != '.' || sent[at + 1] == '.');
        octets += length - (sent[at] == '.' ? 1 : 0);
        at += length;
        (*lines)++;
    }
}

static void try_message(const uint8_t *bytes, uint32_t size, uint32_t step, uint32_t wanted) {
    static uint8_t whole[BYTES_MAX * 2 + STUFFING_END_MAX];
    static uint8_t cut[BYTES_MAX * 2 + STUFFING_END_MAX];
    struct octets octets = {0};
    uint32_t lines;
    uint32_t count = send(bytes, size, size > 0 ? size : 1, STUFFING_ALL_LINES, whole);
    FUZZ_CHECK(send(bytes, size, step, STUFFING_ALL_LINES, cut) == count);
    FUZZ_CHECK(memcmp(whole, cut, count) == 0);
    for (uint32_t at = 0; at < size; at += step) {
        octets_add(&octets, bytes + at, size - at < step ? size - at : step);
    }
    FUZZ_CHECK(receive(whole, count, &lines) == octets_end(&octets));
    uint32_t top = send(bytes, size, step, wanted, cut);
    uint32_t top_lines;
    receive(cut, top, &top_lines);
    FUZZ_CHECK(top_lines <= lines && memcmp(whole, cut, top - 3) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < HEAD || size > BYTES_MAX) {
        return 0;
    }
    uint32_t rest = (uint32_t)size - HEAD;
    uint8_t *bytes = malloc(rest > 0 ? rest : 1);
    memcpy(bytes, data + HEAD, rest);
    if (data[0] % 2 == 0) {
        try_commands(bytes, rest);
    } else {
        try_message(bytes, rest, 1U + data[1], data[2]);
    }
    free(bytes);
    return 0;
}
