/* What the plugin gives to a client: its own stream, with runs of a file and of the client's own
 * bytes in it. The file is this very program: it is there, wherever a world is played. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rule.h"
#include "world.h"

const uint8_t *given_file;
uint64_t given_file_size;
const char *given_file_path;

void given_setup(const char *program) {
    FILE *file = fopen(program, "rb");
    RULE(file && fseek(file, 0, SEEK_END) == 0, "the program's file can be read");
    long size = ftell(file);
    uint8_t *bytes = size > 0 ? malloc((size_t)size) : NULL;
    rewind(file);
    RULE(bytes && fread(bytes, 1, (size_t)size, file) == (size_t)size,
         "the program's file can be read");
    fclose(file);
    given_file = bytes;
    given_file_size = (uint64_t)size;
    given_file_path = program;
}

bool given_can_insert(const struct conversation *conversation) {
    return conversation->insert_count < INSERTS_MAX;
}

void given_insert(struct conversation *conversation, enum source source, uint64_t from, uint64_t at,
                  uint64_t size) {
    conversation->inserts[conversation->insert_count++] = (struct insert){at, size, from, source};
}

static uint64_t least(uint64_t one, uint64_t other) {
    return one < other ? one : other;
}

/* How many bytes from `at` on are of one source; `insert`: which, NULL for the plugin's stream. */
static uint64_t run_at(const struct conversation *conversation, uint64_t at,
                       const struct insert **insert) {
    *insert = NULL;
    for (unsigned i = 0; i < conversation->insert_count; i++) {
        const struct insert *one = &conversation->inserts[i];
        if (at < one->at) {
            return one->at - at;
        }
        if (at < one->at + one->size) {
            *insert = one;
            return one->at + one->size - at;
        }
    }
    return UINT64_MAX;
}

bool given_has(const struct conversation *conversation, uint64_t at, const uint8_t *bytes,
               uint64_t size) {
    while (size > 0) {
        const struct insert *insert;
        uint64_t run = least(run_at(conversation, at, &insert), size);
        uint64_t from = insert ? insert->from + (at - insert->at) : at;
        bool same =
            !insert ? stream_has(conversation->number, STREAM_OF_PLUGIN, from, bytes, run)
            : insert->source == SOURCE_CLIENT
                ? stream_has(conversation->number, STREAM_OF_CLIENT, from, bytes, run)
                : from + run <= given_file_size && memcmp(given_file + from, bytes, run) == 0;
        if (!same) {
            return false;
        }
        at += run;
        bytes += run;
        size -= run;
    }
    return true;
}
