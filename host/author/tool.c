#include "author/tool.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "author/author.h"
#include "base/alloc.h"
#include "base/error.h"
#include "base/macros.h"
#include "base/text.h"
#include "manifest/manifest.h"
#include "os/os.h"
#include "os/os_process.h"

enum { CONFIG_BYTES_MAX = 1024 * 1024, TICK_MS = 100 };

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
    return strcmp(option, "--listen") == 0 ? &words->listen : &words->time_limit;
}

static int complain(const char *what, const char *word) {
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
                return complain("too many words:", argv[i]);
            }
            words->words[words->count++] = argv[i];
            continue;
        }
        size_t at = 0;
        while (allowed[at] && strcmp(allowed[at], argv[i]) != 0) {
            at++;
        }
        if (!allowed[at]) {
            return complain("unknown option", argv[i]);
        }
        if (strcmp(argv[i], "--json") == 0) {
            words->json = true;
        } else if (strcmp(argv[i], "--child") == 0) {
            words->child = true;
        } else if (i + 1 == argc) {
            return complain("a value is missing behind", argv[i]);
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

/* -- the watch ----------------------------------------------------------------------------------
 */

static struct {
    struct os_thread thread;
    struct os_mutex mutex;
    struct os_condition condition;
    bool ended;
    unsigned limit_ms;
    _Atomic(uint64_t) step_ms;
    void (*last_words)(const char *what);
} watch;

static void on_crash(const char *how) {
    char what[80];
    snprintf(what, sizeof(what), "crashed with %s", how);
    watch.last_words(what);
    os_process_exit_now(TOOL_FAILED);
}

static void watch_main(void *argument) {
    (void)argument;
    os_mutex_lock(&watch.mutex);
    while (!watch.ended) {
        os_condition_wait(&watch.condition, &watch.mutex, TICK_MS);
        if (!watch.ended && os_now_ms() - atomic_load(&watch.step_ms) > watch.limit_ms) {
            char what[80];
            snprintf(what, sizeof(what), "did not return within %u ms", watch.limit_ms);
            watch.last_words(what);
            os_process_exit_now(TOOL_FAILED);
        }
    }
    os_mutex_unlock(&watch.mutex);
}

void tool_watch_step(void) {
    atomic_store(&watch.step_ms, os_now_ms());
}

bool tool_watch_start(unsigned limit_ms, void (*last_words)(const char *what),
                      struct error *error) {
    watch.last_words = last_words;
    watch.limit_ms = limit_ms;
    watch.ended = false;
    tool_watch_step();
    os_mutex_init(&watch.mutex);
    os_condition_init(&watch.condition);
    os_process_on_crash(on_crash);
    return os_thread_start(&watch.thread, "watch", watch_main, NULL, error) ||
           error_prefix(error, "starting the watch: ");
}

void tool_watch_stop(void) {
    os_mutex_lock(&watch.mutex);
    watch.ended = true;
    os_condition_signal(&watch.condition);
    os_mutex_unlock(&watch.mutex);
    os_thread_join(&watch.thread);
    os_condition_fini(&watch.condition);
    os_mutex_fini(&watch.mutex);
}

/* -- the verbs ----------------------------------------------------------------------------------
 */

int author_plugin(int argc, char **argv) {
    static const struct {
        const char *name;
        int (*function)(const struct tool_words *words);
        const char *options[6];
    } verbs[] = {
        {"test", tool_test, {"--config", "--json", NULL}},
        {"new", tool_new, {"--lang", NULL}},
        {"validate", tool_validate, {"--config", "--json", "--time-limit", "--child", NULL}},
    };
    if (argc < 1) {
        return tool_usage("say what to do with the plugin: test, validate or new");
    }
    for (size_t i = 0; i < ARRAY_COUNT(verbs); i++) {
        if (strcmp(argv[0], verbs[i].name) == 0) {
            struct tool_words words;
            int code = tool_words_read(&words, argc - 1, argv + 1, verbs[i].options);
            return code == TOOL_FINE ? verbs[i].function(&words) : code;
        }
    }
    return complain("no such thing to do with a plugin:", argv[0]);
}
