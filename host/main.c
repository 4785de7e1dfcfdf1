/* main.c: the program `berth`: runs the verb of the command line. */
#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "base/macros.h"
#include "command/command.h"
#include "control/control.h"
#include "devkit/devkit.h"
#include "os/log_writer.h"
#include "os/os.h"
#include "plugin/load_probe.h"

static int try_library(const struct command *command) {
    trial_take(command->words[0], command->words[1]);
}

typedef int verb_fn(const struct command *command);

/* Verbs with NULL are run by the program beside this one, which gets the words unchanged. */
static verb_fn *const verbs[COMMAND_VERB_COUNT] = {
    [COMMAND_RUN] = control_run,         [COMMAND_CHECK] = control_check,
    [COMMAND_PLUGINS] = control_plugins, [COMMAND_STATUS] = control_ask,
    [COMMAND_LISTENERS] = control_ask,   [COMMAND_PAUSE] = control_ask,
    [COMMAND_RESUME] = control_ask,      [COMMAND_RESTART] = control_ask,
    [COMMAND_RELOAD] = control_ask,      [COMMAND_RELEASE] = control_ask,
    [COMMAND_STOP] = control_ask,        [COMMAND_PLUGIN_NEW] = author_new,
    [COMMAND_SCHEMA] = control_schema,   [COMMAND_RECORD] = devkit_record,
    [COMMAND_TRY_LIBRARY] = try_library,
};

/* `run` and `record` wait for the signals that request a stop; the other verbs are terminated by
 * them. */
static int main_run_verb(const struct command *command, int argc, char **argv) {
    int code;
    if (command->verb == COMMAND_RUN) {
        if (!command->supervised && os_init_process(&code)) {
            return code;
        }
    } else if (command->verb != COMMAND_RECORD) {
        os_signals_leave();
    }
    verb_fn *verb = verbs[command->verb];
    return verb ? verb(command) : author_run_devkit(argc, argv);
}

int main(int argc, char **argv) {
    struct error error = {0};
    struct command command;
    int code;
    if (!os_start(&argc, &argv, &error)) {
        fprintf(stderr, "berth: %s\n", error.message);
        return EXIT_FAILED;
    }
    if (!command_read(&command, argc - 1, argv + 1, &code)) {
        return code;
    }
    long before = alloc_live();
    code = main_run_verb(&command, argc - 1, argv + 1);
    log_writer_stop();
    long left = alloc_live() - before;
    if (left != 0) {
        log_warn(NULL,
                 "%ld blocks of memory were not given back: a plugin has kept buffers or files, or "
                 "there is a defect in the host",
                 left);
    }
    return code;
}
