/* The verb `plugin fuzz`: conversations by chance with a plugin, until one breaks a rule. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "author/fuzz.h"
#include "author/library.h"
#include "author/tool.h"
#include "author/verdicts.h"
#include "base/alloc.h"
#include "base/error.h"
#include "base/text.h"
#include "os/os.h"
#include "os/os_process.h"

enum { SECONDS = 10, SECONDS_MAX = 86400, LIMIT_MS = 30000 };

static struct {
    uint64_t seed;
    uint64_t runs;
    const struct transcript *transcript; /* the present one */
} fuzzing;

static void write_out(const char *text, size_t size) {
    fwrite(text, 1, size, stdout);
}

static void write_last(const char *text, size_t size) {
    os_process_write(text, size);
}

/* The steps up to the one that it happened in; nothing more can be tried in this process. */
static void last_words(const char *what, const char *callback) {
    char text[512];
    int length = snprintf(
        text, sizeof(text),
        "FAILED   seed %llu, run %llu: the plugin %s %s%s%s; the conversations until then:\n"
        "\n",
        (unsigned long long)fuzzing.seed, (unsigned long long)fuzzing.runs, what,
        callback && callback[0] ? "in `" : "outside of every callback", callback ? callback : "",
        callback && callback[0] ? "`" : "");
    os_process_write(text, length > 0 ? (size_t)length : 0);
    const struct transcript *transcript = fuzzing.transcript;
    if (transcript) {
        size_t steps = fuzz_run_step() + 1;
        steps = steps < transcript->step_count ? steps : transcript->step_count;
        fuzz_write(transcript, steps, write_last);
    }
}

static int report(const struct fuzz_trial *trial, struct transcript *transcript,
                  const struct testbed_finding *found) {
    printf("FAILED   seed %llu, run %llu: %s%s%s: ", (unsigned long long)fuzzing.seed,
           (unsigned long long)fuzzing.runs, found->name, found->callback[0] ? " in " : "",
           found->callback);
    text_print(stdout, found->words);
    fputs("; a transcript that breaks it:\n\n", stdout);
    fflush(stdout);
    fuzz_shorten(trial, transcript, found->name);
    fuzz_write(transcript, transcript->step_count, write_out);
    return EXIT_FAILED;
}

static int run_all(const struct fuzz_trial *trial, const struct fuzz_seeds *seeds,
                   unsigned seconds) {
    uint64_t began_ms = os_now_ms();
    uint64_t spent_ms = 0;
    struct os_thread_usage before;
    os_thread_usage(&before);
    bool datagrams = trial->plugin->datagram && !trial->plugin->received;
    int code = EXIT_FINE;
    for (; code == EXIT_FINE && spent_ms < seconds * 1000ull; fuzzing.runs++) {
        struct testbed_finding found;
        struct bytes words = {0};
        struct transcript *transcript = fuzz_make(fuzzing.seed, fuzzing.runs, seeds, datagrams);
        fuzzing.transcript = transcript;
        bool ran = transcript && fuzz_run(trial, transcript, NULL, &found, &words);
        if (!ran) {
            code =
                verdicts_fail(false, words.size > 0 ? (const char *)words.data : "out of memory");
        } else if (found.name[0]) {
            code = report(trial, transcript, &found);
        }
        fuzzing.transcript = NULL;
        transcript_free(transcript);
        bytes_free(&words);
        spent_ms = os_now_ms() - began_ms;
    }
    if (code == EXIT_FINE) {
        struct os_thread_usage usage;
        os_thread_usage(&usage);
        uint64_t cpu_ms = (usage.cpu_us - before.cpu_us) / 1000;
        unsigned long long count = fuzzing.runs * FUZZ_CONVERSATIONS;
        printf("ok       seed %llu: %llu conversations in %llu runs, %llu a second of the "
               "processor\n",
               (unsigned long long)fuzzing.seed, count, (unsigned long long)fuzzing.runs,
               count * 1000 / (cpu_ms > 0 ? cpu_ms : 1));
    }
    return code;
}

static int try_plugin(const struct command *command, const struct fuzz_seeds *seeds,
                      unsigned seconds, struct error *error) {
    char folder[OS_PATH_MAX];
    char *json = NULL;
    struct library library = {0};
    int code = EXIT_FAILED;
    if (tool_config_read(command->config, &json, folder, sizeof(folder), error) &&
        library_open(&library, command->words[0], error) &&
        library_check_config(&library, json, error) &&
        tool_watch_start(LIMIT_MS, last_words, error)) {
        const struct fuzz_trial trial = {.plugin = &library.plugin,
                                         .config_json = json,
                                         .folder = command->config ? folder : NULL};
        code = run_all(&trial, seeds, seconds);
        tool_watch_stop();
    } else {
        code = verdicts_fail(false, error->message);
    }
    library_close(&library);
    alloc_free(json);
    return code;
}

static bool read_number(const char *text, uint64_t most, uint64_t *number) {
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

int tool_fuzz(const struct command *command) {
    struct error error = {0};
    struct transcript *transcripts[COMMAND_WORDS_MAX] = {NULL};
    struct fuzz_seeds seeds = {.all = transcripts};
    uint64_t seconds = SECONDS;
    fuzzing.seed = os_now_ms();
    if (command->word_count > 1 && !command->transcripts) {
        return command_refuse(COMMAND_PLUGIN_FUZZ,
                              "plugin fuzz takes one file; transcripts need --transcripts");
    }
    if (!read_number(command->seconds, SECONDS_MAX, &seconds) || seconds == 0) {
        return command_refuse(COMMAND_PLUGIN_FUZZ, "--seconds is 1 to 86400");
    }
    if (!read_number(command->seed, UINT64_MAX, &fuzzing.seed)) {
        return command_refuse(COMMAND_PLUGIN_FUZZ, "--seed is a number, of at most 19 digits");
    }
    if (command->transcripts && command->word_count < 2) {
        return command_refuse(COMMAND_PLUGIN_FUZZ, "--transcripts wants at least one file");
    }
    int code = EXIT_FINE;
    for (size_t i = 1; i < command->word_count && code == EXIT_FINE; i++, seeds.count++) {
        transcripts[i - 1] = transcript_read(command->words[i], &error);
        code = transcripts[i - 1] ? EXIT_FINE : verdicts_fail(false, error.message);
    }
    code = code == EXIT_FINE ? try_plugin(command, &seeds, (unsigned)seconds, &error) : code;
    for (size_t i = 0; i < seeds.count; i++) {
        transcript_free(transcripts[i]);
    }
    return code;
}
