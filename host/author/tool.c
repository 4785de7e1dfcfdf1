/* `berth plugin`: what needs no plugin is done here, and the rest by the program beside this one,
 * which has the simulated engine in it. */
#include <stdio.h>
#include <string.h>

#include "author/author.h"
#include "author/tool.h"
#include "base/error.h"
#include "base/macros.h"
#include "os/os.h"
#include "os/os_process.h"

/* The words go on as they are; so do input, output and the exit code. */
static int run_devkit(int argc, char **argv) {
    char folder[OS_PATH_MAX];
    char program[OS_PATH_MAX];
    const char *arguments[TOOL_WORDS_MAX + 16] = {program, "plugin"};
    struct error error = {0};
    int code = TOOL_FAILED;
    if ((size_t)argc + 3 > ARRAY_COUNT(arguments)) {
        return tool_usage("too many words");
    }
    for (int i = 0; i < argc; i++) {
        arguments[i + 2] = argv[i];
    }
    if (!os_executable_folder(folder, sizeof(folder), &error) ||
        !os_path_join(program, sizeof(program), folder, TOOL_DEVKIT) ||
        !os_process_become(arguments, &code, &error)) {
        fprintf(stderr, "berth: starting " TOOL_DEVKIT ", which belongs beside berth: %s\n",
                error.message);
    }
    return code;
}

int author_plugin(int argc, char **argv) {
    static const char *const options[] = {"--lang", NULL};
    struct tool_words words;
    if (argc < 1) {
        return tool_usage("say what to do with the plugin: test, validate, fuzz or new");
    }
    if (strcmp(argv[0], "new") != 0) {
        return run_devkit(argc, argv);
    }
    int code = tool_words_read(&words, argc - 1, argv + 1, options);
    return code == TOOL_FINE ? tool_new(&words) : code;
}
