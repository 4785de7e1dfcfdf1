/* Shortens runs that end the process: each attempt is a separate process. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "devkit/fuzz.h"
#include "os/os.h"
#include "os/os_process.h"

enum {
    OUTPUT_BYTES_MAX = 16 * 1024 * 1024,
    WORDS_MAX = 24,
    RUN_MS = 20000,     /* an attempt that does not hang */
    HANG_ATTEMPT_S = 2, /* a hang is detected sooner in attempts than in the first run */
};

struct attempts {
    const struct command *command;
    const struct fuzz_report *wanted;
    const char *scratch;
    char path[OS_PATH_MAX]; /* of the attempt's transcript */
    unsigned hang_s;
    struct bytes shortest;
};

bool fuzz_start(const struct command *command, const char *const *more, const char *scratch,
                const char *hang_s, int timeout_ms, struct fuzz_report *report, char **output,
                char *how, size_t size, struct error *error) {
    char path[OS_PATH_MAX];
    struct os_process_result result;
    const char *arguments[WORDS_MAX + COMMAND_WORDS_MAX] = {
        path, "plugin", "fuzz", "--child", "--scratch", scratch, "--hang-seconds", hang_s,
    };
    size_t count = 8;
    if (command->config) {
        arguments[count++] = "--config";
        arguments[count++] = command->config;
    }
    if (command->in_place) {
        arguments[count++] = "--in-place";
    }
    arguments[count++] = command->words[0];
    for (size_t i = 0; more[i] && count + 1 < ARRAY_COUNT(arguments); i++) {
        arguments[count++] = more[i];
    }
    if (!os_executable_again(path, sizeof(path), error) ||
        !os_process_run(arguments, -1, timeout_ms, OUTPUT_BYTES_MAX, &result, error)) {
        return false;
    }
    *output = result.output;
    bool has_said = fuzz_report_read(result.output, report);
    if (result.timed_out) {
        snprintf(how, size, "took longer than %d s", timeout_ms / 1000);
    } else if (result.end[0]) {
        snprintf(how, size, "ended with %s", result.end);
    } else {
        snprintf(how, size, "ended with exit code %d", result.code);
    }
    return has_said ||
           error_set(error, "the process that had the conversations %s, without a word", how);
}

static void add_piece(void *context, const char *text, size_t size) {
    bytes_add(context, text, size);
}

/* Whether the process ends in the same way, in the same callback. */
static bool still_ends(void *context, struct transcript *transcript) {
    struct attempts *attempts = context;
    struct bytes text = {0};
    struct fuzz_report report = {0};
    struct error error;
    char *output = NULL;
    char how[80];
    char hang_s[16];
    const char *more[] = {"--replay",      "--folder",     attempts->wanted->folder,
                          "--transcripts", attempts->path, NULL};
    fuzz_write(transcript, transcript->step_count, add_piece, &text);
    snprintf(hang_s, sizeof(hang_s), "%u", attempts->hang_s);
    os_file_remove(attempts->path);
    bool ends = os_file_write_new(attempts->path, (const char *)text.data, text.size, &error) &&
                fuzz_start(attempts->command, more, attempts->scratch, hang_s,
                           RUN_MS + (int)attempts->hang_s * 1000, &report, &output, how,
                           sizeof(how), &error) &&
                report.end == attempts->wanted->end &&
                strcmp(report.callback, attempts->wanted->callback) == 0;
    if (ends) {
        attempts->shortest.size = 0;
        bytes_add_text(&attempts->shortest, report.rest);
    }
    alloc_free(output);
    bytes_free(&text);
    return ends;
}

static struct transcript *fuzz_attempt_read_text(const struct attempts *attempts,
                                                 const char *text) {
    struct error error;
    os_file_remove(attempts->path);
    return os_file_write_new(attempts->path, text, strlen(text), &error)
               ? transcript_read(attempts->path, &error)
               : NULL;
}

/* Removes the expected answers: fuzz runs do not check answers, and a client without other steps is
 * unused. */
static void drop_answers(struct transcript *transcript) {
    for (size_t i = 0; i < transcript->step_count; i++) {
        transcript->steps[i].is_idle = transcript->steps[i].kind == STEP_EXPECT;
    }
}

struct transcript *fuzz_attempts(const struct command *command, const struct fuzz_report *report,
                                 const char *scratch, unsigned hang_s) {
    struct attempts attempts = {
        .command = command,
        .wanted = report,
        .scratch = scratch,
        .hang_s = report->end == FUZZ_HUNG && hang_s > HANG_ATTEMPT_S ? HANG_ATTEMPT_S : hang_s,
    };
    struct fuzz_shortening shortening = {.still_fails = still_ends,
                                         .context = &attempts,
                                         .attempts_max = FUZZ_PROCESSES_MAX,
                                         .until_ms = os_now_ms() + FUZZ_SHORTEN_MS};
    struct transcript *shortest = NULL;
    struct transcript *transcript =
        os_path_join(attempts.path, sizeof(attempts.path), scratch, "attempt.txt")
            ? fuzz_attempt_read_text(&attempts, report->rest)
            : NULL;
    if (transcript) {
        drop_answers(transcript);
        if (still_ends(&attempts, transcript)) {
            fuzz_shorten(&shortening, transcript);
            shortest = fuzz_attempt_read_text(&attempts, (const char *)attempts.shortest.data);
        }
    }
    os_file_remove(attempts.path);
    bytes_free(&attempts.shortest);
    transcript_free(transcript);
    return shortest;
}
