/* The verb `plugin fuzz`: random conversations with a plugin, until it breaks a rule. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/text.h"
#include "devkit/fuzz.h"
#include "devkit/results.h"
#include "os/os.h"
#include "os/os_private.h"

enum { SECONDS = 10, SECONDS_MAX = 86400, HANG_S_MAX = 3600, END_MS = 30000 };

struct fuzzing {
    const struct command *command;
    struct fuzz_seeds seeds;
    uint64_t seed;
    uint64_t seconds;
    uint64_t hang_s;
    const char *scratch;
};

static void fuzz_write_out(void *context, const char *text, size_t size) {
    (void)context;
    fwrite(text, 1, size, stdout);
}

static void print_failed(const struct fuzzing *fuzzing, const struct fuzz_report *report) {
    printf("FAILED   seed %llu, run %llu: ", (unsigned long long)fuzzing->seed,
           (unsigned long long)report->run);
}

static void tell_broken(const struct fuzzing *fuzzing, const struct fuzz_report *report) {
    print_failed(fuzzing, report);
    printf("%s%s%s: ", report->name, report->callback[0] ? " in " : "", report->callback);
    text_print(stdout, report->words);
    printf("; a transcript that breaks it:\n\n%s", report->rest);
}

static void tell_ended(const struct fuzzing *fuzzing, const struct fuzz_report *report) {
    struct transcript *shortest =
        fuzz_attempts(fuzzing->command, report, fuzzing->scratch, (unsigned)fuzzing->hang_s);
    print_failed(fuzzing, report);
    printf("the plugin %s %s", report->name, report->words);
    if (shortest) {
        printf("; a transcript that does it again:\n\n");
        fuzz_write(shortest, shortest->step_count, fuzz_write_out, NULL);
    } else {
        printf("; once more it did not; the conversations until then:\n\n%s", report->rest);
    }
    transcript_free(shortest);
}

static int fuzz_tell(const struct fuzzing *fuzzing, const struct fuzz_report *report) {
    switch (report->end) {
    case FUZZ_FINE:
        printf("ok       seed %llu: %s\n", (unsigned long long)fuzzing->seed, report->words);
        return EXIT_FINE;
    case FUZZ_REFUSED:
        return results_fail(false, report->words);
    case FUZZ_BROKEN:
        tell_broken(fuzzing, report);
        return EXIT_FAILED;
    default:
        tell_ended(fuzzing, report);
        return EXIT_FAILED;
    }
}

static int run_child(const struct fuzzing *fuzzing) {
    const struct command *command = fuzzing->command;
    const char *more[COMMAND_WORDS_MAX + 8] = {NULL};
    char seed[24];
    char seconds[24];
    char hang_s[24];
    char how[80];
    size_t count = 0;
    struct fuzz_report report;
    struct error error = {0};
    char *output = NULL;
    snprintf(seed, sizeof(seed), "%llu", (unsigned long long)fuzzing->seed);
    snprintf(seconds, sizeof(seconds), "%llu", (unsigned long long)fuzzing->seconds);
    snprintf(hang_s, sizeof(hang_s), "%llu", (unsigned long long)fuzzing->hang_s);
    more[count++] = "--seed";
    more[count++] = seed;
    more[count++] = "--seconds";
    more[count++] = seconds;
    if (command->transcripts) {
        more[count++] = "--transcripts";
    }
    for (size_t i = 1; i < command->word_count; i++) {
        more[count++] = command->words[i];
    }
    int timeout_ms = (int)(fuzzing->seconds + fuzzing->hang_s) * 1000 + FUZZ_SHORTEN_MS + END_MS;
    bool has_said = fuzz_start(command, more, fuzzing->scratch, hang_s, timeout_ms, &report,
                               &output, how, sizeof(how), &error);
    int code = has_said ? fuzz_tell(fuzzing, &report) : results_fail(false, error.message);
    alloc_free(output);
    return code;
}

static int fuzz_run_plugin(struct fuzzing *fuzzing) {
    struct error error = {0};
    const struct command *command = fuzzing->command;
    if (command->child) {
        return fuzz_child(command, &fuzzing->seeds, fuzzing->seed, (unsigned)fuzzing->seconds,
                          (unsigned)fuzzing->hang_s);
    }
    os_private_clean(NULL);
    struct os_private *scratch = os_private_create(NULL, &error);
    if (!scratch) {
        error_prefix(&error, "making a folder for copies: ");
        return results_fail(false, error.message);
    }
    fuzzing->scratch = os_private_path(scratch);
    int code = run_child(fuzzing);
    fuzz_copy_remove(fuzzing->scratch);
    os_private_remove(scratch);
    return code;
}

static bool fuzz_read_number(const char *text, uint64_t most, uint64_t *number) {
    char *end = NULL;
    if (!text) {
        return true;
    }
    if (text[0] < '0' || text[0] > '9' || strlen(text) > 19) {
        return false;
    }
    *number = strtoull(text, &end, 10);
    return *end == '\0' && *number <= most;
}

static int read_words(struct fuzzing *fuzzing) {
    const struct command *command = fuzzing->command;
    if (command->word_count > 1 && !command->transcripts) {
        return command_refuse(COMMAND_PLUGIN_FUZZ,
                              "plugin fuzz takes one file; transcripts need --transcripts");
    }
    if (!fuzz_read_number(command->seconds, SECONDS_MAX, &fuzzing->seconds) ||
        fuzzing->seconds == 0) {
        return command_refuse(COMMAND_PLUGIN_FUZZ, "--seconds is 1 to 86400");
    }
    if (!fuzz_read_number(command->hang_seconds, HANG_S_MAX, &fuzzing->hang_s) ||
        fuzzing->hang_s == 0) {
        return command_refuse(COMMAND_PLUGIN_FUZZ, "--hang-seconds is 1 to 3600");
    }
    if (!fuzz_read_number(command->seed, UINT64_MAX, &fuzzing->seed)) {
        return command_refuse(COMMAND_PLUGIN_FUZZ, "--seed is a number, of at most 19 digits");
    }
    if (command->transcripts && command->word_count < 2) {
        return command_refuse(COMMAND_PLUGIN_FUZZ, "--transcripts wants at least one file");
    }
    return EXIT_FINE;
}

int tool_fuzz(const struct command *command) {
    struct error error = {0};
    struct transcript *transcripts[COMMAND_WORDS_MAX] = {NULL};
    struct fuzzing fuzzing = {.command = command,
                              .seeds.all = transcripts,
                              .seed = os_now_ms(),
                              .seconds = SECONDS,
                              .hang_s = FUZZ_HANG_S};
    int code = read_words(&fuzzing);
    for (size_t i = 1; i < command->word_count && code == EXIT_FINE; i++, fuzzing.seeds.count++) {
        transcripts[i - 1] = transcript_read(command->words[i], &error);
        code = transcripts[i - 1] ? EXIT_FINE : results_fail(false, error.message);
    }
    code = code == EXIT_FINE ? fuzz_run_plugin(&fuzzing) : code;
    for (size_t i = 0; i < fuzzing.seeds.count; i++) {
        transcript_free(transcripts[i]);
    }
    return code;
}
