/* main.c: the program `berth-devkit`, which `berth plugin` starts to test a plugin. */
#include <stdio.h>

#include "base/error.h"
#include "command/command.h"
#include "devkit/tool.h"
#include "os/os.h"

static int devkit_run_verb(const struct command *command) {
    switch (command->verb) {
    case COMMAND_PLUGIN_FUZZ:
        return tool_fuzz(command);
    case COMMAND_PLUGIN_TEST:
        return tool_test(command);
    case COMMAND_PLUGIN_VALIDATE:
        return tool_validate(command);
    default:
        return command_refuse(COMMAND_VERB_COUNT,
                              "berth-devkit is started by \"berth plugin test|validate|fuzz\"");
    }
}

int main(int argc, char **argv) {
    struct error error = {0};
    struct command command;
    int code;
    if (!os_start(&argc, &argv, &error)) {
        fprintf(stderr, "berth: %s\n", error.message);
        return EXIT_FAILED;
    }
    os_signals_leave();
    return command_read(&command, argc - 1, argv + 1, &code) ? devkit_run_verb(&command) : code;
}
