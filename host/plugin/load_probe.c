#include "plugin/load_probe.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "os/os.h"
#include "os/os_private.h"
#include "os/os_process.h"
#include "plugin/descriptor.h"

enum { CODE_REFUSED = 1, OUTPUT_MAX = 64 * 1024 };

/* Marks the start of the probe's result; output before it comes from the plugin. */
enum { MARK = '\x01' };

static bool read_result(const struct os_process_result *result, struct error *error) {
    const char *where = "a constructor of it, or " BERTH_PLUGIN_ENTRY_NAME "()";
    const char *told = result->output ? strrchr(result->output, MARK) : NULL;
    if (result->timed_out) {
        return error_set(error,
                         "it was loaded in a process of its own first, and hung for %d ms: "
                         "see %s",
                         TRIAL_MS, where);
    }
    if (!told) {
        char how[64];
        snprintf(how, sizeof(how), "exit code %d", result->code);
        return error_set(error,
                         "it was loaded in a process of its own first, and ended that (%s): "
                         "see %s",
                         result->end[0] != '\0' ? result->end : how, where);
    }
    return told[1] == '\0' || error_set(error, "%s", told + 1);
}

bool load_probe_run(const struct os_copy *copy, const char *id, struct error *error) {
    char program[OS_PATH_MAX];
    struct os_process_result result;
    if (!os_executable_again(program, sizeof(program), error)) {
        return false;
    }
    const char *const arguments[] = {program, LOAD_PROBE_VERB, os_copy_path(copy), id, NULL};
    if (!os_process_run(arguments, os_copy_descriptor(copy), TRIAL_MS, OUTPUT_MAX, &result,
                        error)) {
        return error_prefix(error, "trying it in a process of its own: ");
    }
    bool fine = read_result(&result, error);
    alloc_free(result.output);
    return fine;
}

void trial_take(const char *path, const char *id) {
    struct error error = {0};
    struct berth_plugin plugin;
    struct os_library *library = NULL;
    const char mark = MARK;
    os_process_end_with_parent();
    bool fine = descriptor_load(path, id, &library, &plugin, &error);
    os_process_write(&mark, 1);
    if (!fine) {
        os_process_write(error.message, strlen(error.message));
    }
    os_process_exit_now(fine ? 0 : CODE_REFUSED); /* without destructors */
}
