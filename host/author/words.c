/* The words of a verb, and its config. */
#include "author/tool.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/macros.h"
#include "base/text.h"
#include "manifest/manifest.h"
#include "os/os.h"

enum { CONFIG_BYTES_MAX = 1024 * 1024 };

int tool_usage(const char *text) {
    fprintf(stderr, "berth: %s; see \"berth help\"\n", text);
    return TOOL_USAGE;
}

static const char **value_of(struct tool_words *words, const char *option) {
    if (strcmp(option, "--config") == 0) {
        return &words->config;
    }
    if (strcmp(option, "--lang") == 0) {
        return &words->lang;
    }
    if (strcmp(option, "--out") == 0) {
        return &words->out;
    }
    if (strcmp(option, "--seconds") == 0) {
        return &words->seconds;
    }
    if (strcmp(option, "--seed") == 0) {
        return &words->seed;
    }
    return strcmp(option, "--listen") == 0 ? &words->listen : &words->time_limit;
}

int tool_complain(const char *what, const char *word) {
    char text[256];
    char safe[128];
    snprintf(text, sizeof(text), "%s \"%s\"; see \"berth help\"", what,
             text_safe(safe, sizeof(safe), word));
    text_print_error(text);
    return TOOL_USAGE;
}

int tool_words_read(struct tool_words *words, int argc, char **argv, const char *const *allowed) {
    *words = (struct tool_words){0};
    for (int i = 0; i < argc; i++) {
        if (argv[i][0] != '-') {
            if (words->count == TOOL_WORDS_MAX) {
                return tool_complain("too many words:", argv[i]);
            }
            words->words[words->count++] = argv[i];
            continue;
        }
        size_t at = 0;
        while (allowed[at] && strcmp(allowed[at], argv[i]) != 0) {
            at++;
        }
        if (!allowed[at]) {
            return tool_complain("unknown option", argv[i]);
        }
        if (strcmp(argv[i], "--json") == 0) {
            words->json = true;
        } else if (strcmp(argv[i], "--child") == 0) {
            words->child = true;
        } else if (strcmp(argv[i], "--transcripts") == 0) {
            words->transcripts = true;
        } else if (i + 1 == argc) {
            return tool_complain("a value is missing behind", argv[i]);
        } else {
            const char **value = value_of(words, argv[i]);
            *value = argv[++i];
        }
    }
    return TOOL_FINE;
}

static bool read_config(const char *given, char **json, char *folder, size_t size,
                        struct error *error) {
    size_t length = 0;
    *json = NULL;
    snprintf(folder, size, ".");
    if (!given) {
        return true;
    }
    if (given[strspn(given, " \t\r\n")] == '{') {
        *json = alloc_string(given);
        return *json || error_set(error, "out of memory");
    }
    return (os_file_read(given, CONFIG_BYTES_MAX, json, &length, error) ||
            error_prefix(error, "reading the config %s: ", given)) &&
           (os_path_folder(folder, size, given) || error_set(error, "the path is too long"));
}

bool tool_config_read(const char *given, char **json, char *folder, size_t size,
                      struct error *error) {
    if (read_config(given, json, folder, size, error) &&
        (!*json || manifest_json_check(*json, error) ||
         error_prefix(error, "the config %.200s: ", given))) {
        return true;
    }
    alloc_free(*json);
    *json = NULL;
    return false;
}
