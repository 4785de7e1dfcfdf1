/* The program `berth-devkit`: what `berth plugin` starts to try a plugin. */
#include <stdio.h>
#include <string.h>

#include "author/tool.h"
#include "base/error.h"
#include "base/macros.h"
#include "os/os.h"

static int run(int argc, char **argv) {
    static const struct {
        const char *name;
        int (*function)(const struct tool_words *words);
        const char *options[6];
    } verbs[] = {
        {"fuzz", tool_fuzz, {"--transcripts", "--seconds", "--seed", "--config", NULL}},
        {"test", tool_test, {"--config", "--json", NULL}},
        {"validate", tool_validate, {"--config", "--json", "--time-limit", "--child", NULL}},
    };
    for (size_t i = 0; i < ARRAY_COUNT(verbs); i++) {
        if (strcmp(argv[0], verbs[i].name) == 0) {
            struct tool_words words;
            int code = tool_words_read(&words, argc - 1, argv + 1, verbs[i].options);
            return code == TOOL_FINE ? verbs[i].function(&words) : code;
        }
    }
    return tool_complain("no such thing to do with a plugin:", argv[0]);
}

int main(int argc, char **argv) {
    struct error error = {0};
    if (!os_start(&argc, &argv, &error)) {
        fprintf(stderr, "berth: %s\n", error.message);
        return TOOL_FAILED;
    }
    os_signals_leave();
    if (argc < 3 || strcmp(argv[1], "plugin") != 0) {
        return tool_usage("berth-devkit is started by \"berth plugin test|validate|fuzz\"");
    }
    return run(argc - 2, argv + 2);
}
