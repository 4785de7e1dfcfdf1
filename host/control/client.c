/* The verbs that speak to a running host: its answers as tables, or as they come. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "control/control.h"
#include "control/instance.h"
#include "control/report.h"
#include "control/requests.h"
#include "manifest/manifest.h"
#include "os/os.h"

enum {
    ANSWER_BYTES_MAX = 64 * 1024 * 1024,
    ANSWER_MS = 120000, /* a start of plugins may take its time */
};

/* -- asking --------------------------------------------------------------------------------------
 */

static char *make_request(const char *verb, const struct control_options *options) {
    cJSON *request = cJSON_CreateObject();
    cJSON_AddNumberToObject(request, "berth", REQUESTS_VERSION);
    cJSON_AddStringToObject(request, "verb", verb);
    if (options->word_count > 0) {
        cJSON *names = cJSON_AddArrayToObject(request, "names");
        for (size_t i = 0; i < options->word_count; i++) {
            cJSON_AddItemToArray(names, cJSON_CreateString(options->words[i]));
        }
    }
    if (options->all) {
        cJSON_AddTrueToObject(request, "all");
    }
    if (options->dry_run) {
        cJSON_AddTrueToObject(request, "dry_run");
    }
    if (options->now) {
        cJSON_AddTrueToObject(request, "now");
    }
    char *text = cJSON_PrintUnformatted(request);
    cJSON_Delete(request);
    return text;
}

/* One line, without its end; NULL when none comes. */
static char *read_answer(struct os_pipe *pipe) {
    char *text = NULL;
    size_t filled = 0;
    size_t capacity = 0;
    while (filled < ANSWER_BYTES_MAX) {
        if (filled + 65536 > capacity) {
            capacity = capacity * 2 + 131072;
            char *grown = alloc_resize(text, capacity);
            if (!grown) {
                break;
            }
            text = grown;
        }
        int64_t got = os_pipe_read(pipe, text + filled, 65536, ANSWER_MS);
        if (got <= 0) {
            break;
        }
        char *end = memchr(text + filled, '\n', (size_t)got);
        filled += (size_t)got;
        if (end) {
            *end = '\0';
            return text;
        }
    }
    alloc_free(text);
    return NULL;
}

/* The name of the host that is meant. EXIT_FINE, or the exit code after a message. */
static int find_name(const struct control_options *options, char *name, size_t size) {
    struct edition *edition = NULL;
    int code = EXIT_FINE;
    if (options->name) {
        snprintf(name, size, "%s", options->name);
    } else if (options->manifest) {
        code = report_load(options->manifest, &edition);
        snprintf(name, size, "%s", edition ? edition->manifest->host.name : "");
    } else {
        snprintf(name, size, "berth");
    }
    edition_release(edition);
    return code;
}

/* -- tables --------------------------------------------------------------------------------------
 */

static const char *text_of(const cJSON *object, const char *key) {
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));
    return text ? text : "";
}

static double number_of(const cJSON *object, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

static const cJSON *list_of(const cJSON *object, const char *key) {
    return cJSON_GetObjectItemCaseSensitive(object, key);
}

static void join(const cJSON *list, char *text, size_t size) {
    const cJSON *item;
    size_t used = 0;
    text[0] = '\0';
    cJSON_ArrayForEach(item, list) {
        int length = snprintf(text + used, size - used, "%s%s", used > 0 ? ", " : "",
                              cJSON_IsString(item) ? item->valuestring : "");
        used += length > 0 ? (size_t)length : 0;
        if (used >= size) {
            return;
        }
    }
}

static void print_listeners(const cJSON *result) {
    const cJSON *one;
    char addresses[512];
    printf("%-20s %-14s %4s  %-9s %11s %12s  %s\n", "LISTENER", "PLUGIN", "GEN", "STATE",
           "CONNECTIONS", "ACCEPTED", "ADDRESSES");
    cJSON_ArrayForEach(one, list_of(result, "listeners")) {
        join(list_of(one, "addresses"), addresses, sizeof(addresses));
        printf("%-20s %-14s %4.0f  %-9s %11.0f %12.0f  %s\n", text_of(one, "name"),
               text_of(one, "plugin"), number_of(one, "generation"), text_of(one, "state"),
               number_of(one, "connections"), number_of(list_of(one, "counters"), "accepted"),
               addresses);
    }
}

static void print_plugins(const cJSON *result) {
    const cJSON *one;
    char listeners[512];
    printf("%-20s %-10s %4s  %-9s %s\n", "PLUGIN", "VERSION", "GEN", "STATE", "LISTENERS");
    cJSON_ArrayForEach(one, list_of(result, "plugins")) {
        join(list_of(one, "listeners"), listeners, sizeof(listeners));
        printf("%-20s %-10s %4.0f  %-9s %s\n", text_of(one, "id"), text_of(one, "version"),
               number_of(one, "generation"), text_of(one, "state"), listeners);
    }
}

static void print_quarantine(const cJSON *result) {
    const cJSON *one;
    cJSON_ArrayForEach(one, list_of(result, "quarantine")) {
        printf("quarantine: %s for %.0f s: %s; \"berth release %s\" lets it in again\n",
               text_of(one, "plugin"), number_of(one, "for_ms") / 1000, text_of(one, "reason"),
               text_of(one, "plugin"));
    }
}

/* What is left out stands in neither table. */
static void print_listeners_and_quarantine(const cJSON *result) {
    print_listeners(result);
    print_quarantine(result);
}

static void print_plugins_and_quarantine(const cJSON *result) {
    print_plugins(result);
    print_quarantine(result);
}

static void print_status(const cJSON *result) {
    double seconds = number_of(result, "uptime_ms") / 1000;
    printf("%s %s, process %.0f, %s for %.0f s\n", text_of(result, "name"),
           text_of(result, "version"), number_of(result, "pid"), text_of(result, "state"), seconds);
    printf("engine %s, %.0f workers, %.0f of %.0f connections\n", text_of(result, "engine"),
           number_of(result, "workers"), number_of(result, "connections"),
           number_of(result, "connections_max"));
    printf("manifest %s\n", text_of(result, "manifest"));
    if (cJSON_IsTrue(list_of(result, "supervised"))) {
        printf("supervised, %.0f restarts\n", number_of(result, "restarts"));
    }
    print_quarantine(result);
    printf("\n");
    print_listeners(result);
    printf("\n");
    print_plugins(result);
}

static void print_change(const cJSON *result) {
    printf("%s%.0f added, %.0f removed, %.0f replaced, %.0f configured, %.0f as before\n",
           cJSON_IsTrue(list_of(result, "dry_run")) ? "would be: " : "", number_of(result, "added"),
           number_of(result, "removed"), number_of(result, "replaced"),
           number_of(result, "configured"), number_of(result, "kept"));
}

static void print_paused(const cJSON *result) {
    printf("%.0f listeners paused\n", number_of(result, "paused"));
}

static void print_resumed(const cJSON *result) {
    printf("%.0f listeners resumed\n", number_of(result, "resumed"));
}

static void print_stopping(const cJSON *result) {
    printf("stopping: %.0f connections are open\n", number_of(result, "connections"));
    fflush(stdout);
}

/* -- the verbs -----------------------------------------------------------------------------------
 */

struct verb {
    const char *request;
    void (*print)(const cJSON *result);
    bool until_end; /* returns when the host is gone */
};

static int print_answer(const struct verb *verb, const char *text,
                        const struct control_options *options) {
    cJSON *answer = cJSON_Parse(text);
    const cJSON *error;
    int code = answer ? (int)number_of(answer, "code") : EXIT_FAILED;
    if (options->json) {
        printf("%s\n", text);
        fflush(stdout);
    } else if (cJSON_IsTrue(list_of(answer, "ok"))) {
        verb->print(list_of(answer, "result"));
    }
    cJSON_ArrayForEach(error, list_of(answer, "errors")) {
        if (!options->json) {
            fprintf(stderr, "berth: %s\n", cJSON_IsString(error) ? error->valuestring : "?");
        }
    }
    if (!answer) {
        fprintf(stderr, "berth: the host's answer is not understood\n");
    }
    cJSON_Delete(answer);
    return code;
}

static int talk(const struct verb *verb, struct os_pipe *pipe,
                const struct control_options *options) {
    char *request = make_request(verb->request, options);
    bool sent = request && os_pipe_write(pipe, request, strlen(request), ANSWER_MS) &&
                os_pipe_write(pipe, "\n", 1, ANSWER_MS);
    char *answer = sent ? read_answer(pipe) : NULL;
    int code = EXIT_FAILED;
    char last;
    if (answer) {
        code = print_answer(verb, answer, options);
        while (code == EXIT_FINE && verb->until_end && os_pipe_read(pipe, &last, 1, -1) > 0) {
        }
    } else {
        fprintf(stderr, "berth: the host does not answer\n");
    }
    cJSON_free(request);
    alloc_free(answer);
    return code;
}

static int ask(const struct verb *verb, const struct control_options *options) {
    char name[256];
    struct error error = {0};
    int code = find_name(options, name, sizeof(name));
    if (code != EXIT_FINE) {
        return code;
    }
    struct os_pipe *pipe = os_pipe_connect(name, &error);
    if (!pipe) {
        fprintf(
            stderr,
            "berth: no host called \"%s\" can be spoken to: %s; \"--name\" gives another name\n",
            name, error.message);
        return EXIT_FAILED;
    }
    code = talk(verb, pipe, options);
    os_pipe_close(pipe);
    return code;
}

/* With cJSON's memory the host's own, as the manifest's reader has it. */
static int ask_for(const char *request, void (*print)(const cJSON *result), bool until_end,
                   const struct control_options *options) {
    struct verb verb = {request, print, until_end};
    cJSON_Hooks hooks = {alloc_zeroed, alloc_free};
    cJSON_InitHooks(&hooks);
    return ask(&verb, options);
}

static int need_names(const struct control_options *options) {
    if (options->all == (options->word_count > 0)) {
        fprintf(stderr, "berth: expected the names of listeners or plugins, or --all\n");
        return EXIT_USAGE;
    }
    return EXIT_FINE;
}

int control_status(const struct control_options *options) {
    return ask_for("status", print_status, false, options);
}

int control_listeners(const struct control_options *options) {
    return ask_for("status", print_listeners_and_quarantine, false, options);
}

bool control_running_plugins(const struct control_options *options, int *code) {
    struct os_pipe *pipe = os_pipe_connect(options->name ? options->name : "berth", NULL);
    os_pipe_close(pipe);
    *code = pipe ? ask_for("status", print_plugins_and_quarantine, false, options) : EXIT_FAILED;
    return pipe != NULL;
}

int control_pause(const struct control_options *options) {
    int code = need_names(options);
    return code == EXIT_FINE ? ask_for("pause", print_paused, false, options) : code;
}

int control_resume(const struct control_options *options) {
    int code = need_names(options);
    return code == EXIT_FINE ? ask_for("resume", print_resumed, false, options) : code;
}

int control_restart(const struct control_options *options) {
    int code = need_names(options);
    return code == EXIT_FINE ? ask_for("restart", print_change, false, options) : code;
}

int control_reload(const struct control_options *options) {
    return ask_for("reload", print_change, false, options);
}

int control_release(const struct control_options *options) {
    int code = need_names(options);
    return code == EXIT_FINE ? ask_for("release", print_change, false, options) : code;
}

int control_stop(const struct control_options *options) {
    return ask_for("stop", print_stopping, true, options);
}
