/* The verb `plugin validate`: runs the checks in a child process, with a time limit. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "devkit/checks.h"
#include "devkit/tool.h"
#include "os/os.h"
#include "os/os_process.h"

enum { TIME_LIMIT_S = 120, TIME_LIMIT_MAX_S = 3600, OUTPUT_BYTES_MAX = 1024 * 1024 };

struct validation {
    struct results results;
    bool reported[CHECK_COUNT];
    int begun; /* the last check that began; -1: none */
    bool done;
};

static int find_check(const char *name) {
    for (int i = 0; i < CHECK_COUNT; i++) {
        if (strcmp(check_names[i], name) == 0) {
            return i;
        }
    }
    return -1;
}

/* Reads a line of the child, after its mark. */
static void validate_read_line(struct validation *validation, char *line) {
    char *tab = strchr(line, '\t');
    if (line[0] == CHECKS_DONE) {
        validation->done = true;
        return;
    }
    if (!tab) {
        return;
    }
    *tab = '\0';
    int check = find_check(line + 1);
    if (check < 0) {
        return;
    }
    if (line[0] == CHECKS_BEGIN) {
        validation->begun = check;
        return;
    }
    for (char *at = tab + 1; *at; at++) {
        *at = *at == '\v' ? '\n' : *at;
    }
    if (line[0] >= '0' && line[0] <= '0' + RESULT_SKIPPED) {
        results_add(&validation->results, (enum result)(line[0] - '0'), line + 1, tab + 1);
        validation->reported[check] = true;
    }
}

static void read_output(struct validation *validation, char *output) {
    while (output && *output) {
        char *end = strchr(output, '\n');
        if (end) {
            *end = '\0';
        }
        if (output[0] == CHECKS_MARK) {
            validate_read_line(validation, output + 1);
        }
        output = end ? end + 1 : NULL;
    }
}

/* Reports how the child ended, if it could not report that itself. */
static void validate_tell_end(struct validation *validation, const struct os_process_result *result,
                              int limit_s) {
    char how[160];
    bool good = validation->done && result->code == 0 && result->end[0] == '\0';
    if (result->timed_out) {
        snprintf(how, sizeof(how), "all checks together took longer than %d s", limit_s);
    } else if (result->end[0]) {
        snprintf(how, sizeof(how), "the process ended with %s", result->end);
    } else {
        snprintf(how, sizeof(how), "the process ended with exit code %d", result->code);
    }
    int check = validation->begun < 0 ? CHECK_FILE : validation->begun;
    bool failed = validation->results.counts[RESULT_FAILED] > 0;
    if (!good && (!failed || validation->done)) {
        results_add(&validation->results, RESULT_FAILED, check_names[check], how);
        validation->reported[check] = true;
    }
    for (int i = 0; i < CHECK_COUNT; i++) {
        if (!validation->reported[i]) {
            results_add(&validation->results, RESULT_SKIPPED, check_names[i],
                        "not reached: what failed comes first");
        }
    }
}

/* An invalid --config is an error of the user, not of the plugin. */
static bool validate_check_config(const struct command *command, struct error *error) {
    char folder[OS_PATH_MAX];
    char *json = NULL;
    bool good = tool_config_read(command->config, &json, folder, sizeof(folder), error);
    alloc_free(json);
    return good;
}

int tool_validate(const struct command *command) {
    char path[OS_PATH_MAX];
    struct error error = {0};
    struct os_process_result result;
    struct validation validation = {.results = {.json = command->json}, .begun = -1};
    long limit_s = TIME_LIMIT_S;
    char *end = NULL;
    if (command->time_limit) {
        limit_s = strtol(command->time_limit, &end, 10);
        limit_s = *end == '\0' ? limit_s : 0;
    }
    if (limit_s < 1 || limit_s > TIME_LIMIT_MAX_S) {
        return command_refuse(COMMAND_PLUGIN_VALIDATE, "--time-limit is in seconds, 1 to 3600");
    }
    if (command->child) {
        return checks_run(command);
    }
    if (!validate_check_config(command, &error)) {
        return results_fail(command->json, error.message);
    }
    const char *arguments[10] = {path, "plugin", "validate", "--child", command->words[0]};
    size_t count = 5;
    if (command->config) {
        arguments[count++] = "--config";
        arguments[count++] = command->config;
    }
    if (command->time_limit) {
        arguments[count++] = "--time-limit";
        arguments[count++] = command->time_limit;
    }
    if (!os_executable_path(path, sizeof(path), &error) ||
        !os_process_run(arguments, -1, (int)limit_s * 1000, OUTPUT_BYTES_MAX, &result, &error)) {
        return results_fail(command->json, error.message);
    }
    read_output(&validation, result.output);
    validate_tell_end(&validation, &result, (int)limit_s);
    alloc_free(result.output);
    return results_finish(&validation.results);
}
