/* tool.c: starts berth-devkit, the program with the simulated engine, from the same folder. */
#include <stdio.h>

#include "base/error.h"
#include "base/macros.h"
#include "devkit/devkit.h"
#include "devkit/tool.h"
#include "os/os.h"
#include "os/os_process.h"

/* Passes the arguments, input, output and the exit code through. */
int author_run_devkit(int argc, char **argv) {
    char folder[OS_PATH_MAX];
    char program[OS_PATH_MAX];
    const char *arguments[COMMAND_WORDS_MAX] = {program};
    struct error error = {0};
    int code = EXIT_FAILED;
    if ((size_t)argc + 2 > ARRAY_COUNT(arguments)) {
        return command_refuse(COMMAND_VERB_COUNT, "too many words");
    }
    for (int i = 0; i < argc; i++) {
        arguments[i + 1] = argv[i];
    }
    if (!os_executable_folder(folder, sizeof(folder), &error) ||
        !os_path_join(program, sizeof(program), folder, TOOL_DEVKIT) ||
        !os_process_become(arguments, &code, &error)) {
        fprintf(stderr, "berth: starting " TOOL_DEVKIT ", which belongs beside berth: %s\n",
                error.message);
    }
    return code;
}
