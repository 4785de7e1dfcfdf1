/* The child process that runs the conversations; the plugin may end it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/text.h"
#include "devkit/fuzz.h"
#include "devkit/library.h"
#include "os/os.h"
#include "os/os_process.h"

enum { MARK = 0x1f, FIELDS = 6 };

static const char letters[] = "OBCHER";

static struct {
    uint64_t seed;
    uint64_t run;
    unsigned conversations; /* of the current run */
    struct transcript *transcript;
    bool has_reported;
} fuzzing;

static void fuzz_child_write_piece(void *context, const char *text, size_t size) {
    (void)context;
    os_process_write(text, size);
}

static void fuzz_child_report(enum fuzz_end end, const char *name, const char *callback,
                              const char *words) {
    char folder[OS_PATH_MAX] = "";
    char line[600 + OS_PATH_MAX];
    if (fuzzing.transcript) {
        os_path_folder(folder, sizeof(folder), fuzzing.transcript->path);
    }
    int length =
        snprintf(line, sizeof(line) - 1, "%c%c\t%llu\t%.79s\t%.39s\t%s\t%.299s", MARK, letters[end],
                 (unsigned long long)fuzzing.run, name, callback, folder, words);
    size_t size = length < (int)sizeof(line) - 2 ? (size_t)length : sizeof(line) - 2;
    for (size_t i = 0; i < size; i++) {
        line[i] = line[i] == '\n' ? ' ' : line[i];
    }
    line[size++] = '\n';
    fuzzing.has_reported = true;
    os_process_write(line, size);
}

/* Reports the steps up to the failing one; this process cannot try anything more. */
static void fuzz_child_tell_end(enum fuzz_end end, const char *what, const char *callback,
                                bool no_code) {
    char where[128];
    if (fuzzing.has_reported) {
        return;
    }
    tool_place(where, sizeof(where), callback, no_code);
    fuzz_child_report(end, what, callback ? callback : "?", where);
    const struct transcript *transcript = fuzzing.transcript;
    if (transcript) {
        size_t steps = fuzz_run_step() + 1;
        steps = steps < transcript->step_count ? steps : transcript->step_count;
        fuzz_write(transcript, steps, fuzz_child_write_piece, NULL);
    }
}

static void fuzz_child_last_words(const char *what, const char *callback, bool no_code) {
    bool crashed = strncmp(what, "crashed", 7) == 0;
    fuzz_child_tell_end(crashed ? FUZZ_CRASHED : FUZZ_HUNG, what, callback, no_code);
}

/* The plugin called exit(). */
static void on_exit_call(void) {
    fuzz_child_tell_end(FUZZ_EXITED, "called exit()", testbed_callback(), false);
}

struct breaking {
    const struct fuzz_trial *trial;
    const char *rule;
};

static bool still_breaks(void *context, struct transcript *transcript) {
    const struct breaking *breaking = context;
    struct testbed_finding found;
    struct bytes words = {0};
    fuzz_run(breaking->trial, transcript, breaking->rule, &found, &words);
    bytes_free(&words);
    return found.name[0] != '\0';
}

static void report_found(const struct fuzz_trial *trial, const struct testbed_finding *found,
                         bool shortens) {
    struct breaking breaking = {trial, found->name};
    struct fuzz_shortening shortening = {.still_fails = still_breaks,
                                         .context = &breaking,
                                         .attempts_max = FUZZ_ATTEMPTS_MAX,
                                         .until_ms = os_now_ms() + FUZZ_SHORTEN_MS};
    if (shortens) {
        fuzz_shorten(&shortening, fuzzing.transcript);
    }
    fuzz_child_report(FUZZ_BROKEN, found->name, found->callback, found->words);
    fuzz_write(fuzzing.transcript, fuzzing.transcript->step_count, fuzz_child_write_piece, NULL);
}

/* False: it was the last run. */
static bool run_one(const struct fuzz_trial *trial, bool shortens) {
    struct testbed_finding found = {0};
    struct bytes words = {0};
    bool ran = fuzzing.transcript && fuzz_run(trial, fuzzing.transcript, NULL, &found, &words);
    if (!ran) {
        fuzz_child_report(FUZZ_REFUSED, "", "",
                          words.size > 0 ? (const char *)words.data : "out of memory");
    } else if (found.name[0]) {
        report_found(trial, &found, shortens);
    }
    bytes_free(&words);
    return ran && !found.name[0];
}

static void fuzz_child_run_all(const struct fuzz_trial *trial, const struct fuzz_seeds *seeds,
                               unsigned seconds) {
    uint64_t began_ms = os_now_ms();
    unsigned long long count = 0;
    struct os_thread_usage before;
    struct os_thread_usage usage;
    char words[160];
    bool datagrams = trial->plugin->datagram && !trial->plugin->received;
    bool goes_on = true;
    os_thread_usage(&before);
    while (goes_on && os_now_ms() - began_ms < seconds * 1000ull) {
        fuzzing.transcript =
            fuzz_make(fuzzing.seed, fuzzing.run, seeds, datagrams, &fuzzing.conversations);
        goes_on = run_one(trial, true);
        transcript_free(fuzzing.transcript);
        fuzzing.transcript = NULL;
        count += fuzzing.conversations;
        fuzzing.run++;
    }
    if (goes_on) {
        os_thread_usage(&usage);
        uint64_t cpu_ms = (usage.cpu_us - before.cpu_us) / 1000;
        snprintf(words, sizeof(words),
                 "%llu conversations in %llu runs, %llu a second of the processor", count,
                 (unsigned long long)fuzzing.run, count * 1000 / (cpu_ms > 0 ? cpu_ms : 1));
        fuzz_child_report(FUZZ_FINE, "", "", words);
    }
}

/* One given run; the parent process shortens it. */
static void run_given(const struct fuzz_trial *trial, const struct fuzz_seeds *seeds) {
    fuzzing.transcript = seeds->all[0];
    if (run_one(trial, false)) {
        fuzz_child_report(FUZZ_FINE, "", "", "");
    }
    fuzzing.transcript = NULL;
}

int fuzz_child(const struct command *command, const struct fuzz_seeds *seeds, uint64_t seed,
               unsigned seconds, unsigned hang_s) {
    char folder[OS_PATH_MAX];
    char *json = NULL;
    struct library library = {0};
    struct error error = {0};
    fuzzing.seed = seed;
    os_process_end_with_parent();
    if (!os_process_keep_output(&error)) {
        text_print_error(error.message);
        return EXIT_FAILED;
    }
    atexit(on_exit_call);
    if (tool_config_read(command->config, &json, folder, sizeof(folder), &error) &&
        library_open(&library, command->words[0], &error) &&
        library_check_config(&library, json, &error) &&
        watchdog_start(hang_s * 1000, fuzz_child_last_words, &error)) {
        const struct fuzz_trial trial = {
            .plugin = &library.plugin,
            .config_json = json,
            .folder = command->config ? folder : command->folder,
            .scratch = command->in_place ? NULL : command->scratch,
        };
        if (command->replay) {
            run_given(&trial, seeds);
        } else {
            fuzz_child_run_all(&trial, seeds, seconds);
        }
        watchdog_stop();
    } else {
        fuzz_child_report(FUZZ_REFUSED, "", "", error.message);
    }
    library_close(&library);
    alloc_free(json);
    return EXIT_FINE;
}

/* -- reading the report, in the parent ------------------------------------- */

bool fuzz_report_read(char *output, struct fuzz_report *read) {
    const char *fields[FIELDS] = {""};
    char *line = output ? strchr(output, MARK) : NULL;
    char *end = line ? strchr(line, '\n') : NULL;
    const char *letter = line && line[1] ? strchr(letters, line[1]) : NULL;
    *read = (struct fuzz_report){.rest = ""};
    if (!end || !letter) {
        return false;
    }
    *end = '\0';
    line++;
    for (size_t i = 0; i < FIELDS; i++) {
        char *tab = i + 1 < FIELDS ? strchr(line, '\t') : NULL;
        fields[i] = line;
        line = tab ? tab + 1 : line + strlen(line);
        if (tab) {
            *tab = '\0';
        }
    }
    read->end = (enum fuzz_end)(letter - letters);
    read->run = strtoull(fields[1], NULL, 10);
    snprintf(read->name, sizeof(read->name), "%s", fields[2]);
    snprintf(read->callback, sizeof(read->callback), "%s", fields[3]);
    snprintf(read->folder, sizeof(read->folder), "%s", fields[4]);
    snprintf(read->words, sizeof(read->words), "%s", fields[5]);
    read->rest = end + 1;
    return true;
}
