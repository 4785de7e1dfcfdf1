/* The verb `plugin test`: replays transcripts to a plugin. */
#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "devkit/library.h"
#include "devkit/replay.h"
#include "devkit/testbed.h"
#include "devkit/tool.h"
#include "devkit/transcript.h"
#include "os/os.h"
#include "os/os_process.h"

enum { LIMIT_MS = 30000 };

static void test_crash_report(const char *what, const char *callback, bool no_code) {
    char where[128];
    char text[512];
    tool_place(where, sizeof(where), callback, no_code);
    int length = snprintf(text, sizeof(text), "FAILED   %s: the plugin %s %s\n", replay_place(),
                          what, where);
    os_process_write(text, length > 0 ? (size_t)length : 0);
}

/* All transcripts are read before the first is replayed. */
static bool test_read_all(const struct command *command, struct transcript **transcripts,
                          struct error *error) {
    for (size_t i = 0; i + 1 < command->word_count; i++) {
        transcripts[i] = transcript_read(command->words[i + 1], error);
        if (!transcripts[i]) {
            return false;
        }
    }
    return true;
}

static int play_all(const struct command *command, struct library *library,
                    struct transcript **transcripts, struct error *error) {
    char folder[OS_PATH_MAX];
    struct replay_options options = {0};
    struct results results = {.json = command->json};
    char *json = NULL;
    if (!tool_config_read(command->config, &json, folder, sizeof(folder), error)) {
        return results_fail(command->json, error->message);
    }
    if (!library_check_config(library, json, error)) {
        alloc_free(json);
        return results_fail(command->json, error->message);
    }
    options.config_json = json;
    options.folder = command->config ? folder : NULL;
    for (size_t i = 0; i + 1 < command->word_count; i++) {
        replay_transcript(&library->plugin, transcripts[i], &options, &results);
    }
    alloc_free(json);
    return results_finish(&results);
}

int tool_test(const struct command *command) {
    struct error error = {0};
    struct library library = {0};
    struct transcript *transcripts[COMMAND_WORDS_MAX] = {NULL};
    int code = EXIT_FAILED;
    bool ready = test_read_all(command, transcripts, &error) &&
                 library_open(&library, command->words[0], &error) &&
                 watchdog_start(LIMIT_MS, test_crash_report, &error);
    if (ready) {
        code = play_all(command, &library, transcripts, &error);
        watchdog_stop();
    } else {
        code = results_fail(command->json, error.message);
    }
    library_close(&library);
    for (size_t i = 0; i + 1 < command->word_count; i++) {
        transcript_free(transcripts[i]);
    }
    return code;
}
