/* main.c: plays worlds.
 *
 *     simulate FIRST COUNT [STRIDE]
 *         so many seeds, until one breaks a rule: prints `SEED rule`, exits with 1
 *     simulate --twice FIRST COUNT [STRIDE]
 *         the same, each seed twice, whose traces must be the same
 *     simulate --trace SEED
 *         one, with everything that happens */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "manifest/json.h"
#include "rule.h"
#include "world.h"

static void print_line(const char *line, void *context) {
    (void)context;
    puts(line);
}

static uint64_t number(const char *text) {
    char *end;
    uint64_t value = strtoull(text, &end, 10);
    if (*text == '\0' || *end != '\0') {
        fprintf(stderr, "simulate: \"%s\" is no number\n", text);
        exit(2);
    }
    return value;
}

static int play_with_trace(uint64_t seed) {
    printf("%llu trace %016llx\n", (unsigned long long)seed,
           (unsigned long long)world_play(seed, print_line));
    return EXIT_SUCCESS;
}

static int play_all(uint64_t first, uint64_t count, uint64_t stride, bool twice) {
    uint64_t hash = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t seed = first + i * stride;
        printf("playing %llu\n", (unsigned long long)seed); /* for who finds that it crashed */
        fflush(stdout);
        uint64_t one = world_play(seed, NULL);
        if (twice) {
            RULE(world_play(seed, NULL) == one, "the same seed gives the same trace");
        }
        hash = hash * 31 + one;
    }
    printf("PASSED %llu seeds, traces %016llx\n", (unsigned long long)count,
           (unsigned long long)hash);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv) {
    json_setup();
    given_setup(argv[0]);
    bool twice = argc > 1 && strcmp(argv[1], "--twice") == 0;
    if (argc == 3 && strcmp(argv[1], "--trace") == 0) {
        return play_with_trace(number(argv[2]));
    }
    argc -= twice;
    argv += twice;
    if (argc != 3 && argc != 4) {
        fprintf(stderr, "usage: simulate [--twice] FIRST COUNT [STRIDE] | --trace SEED\n");
        return 2;
    }
    return play_all(number(argv[1]), number(argv[2]), argc == 4 ? number(argv[3]) : 1, twice);
}
