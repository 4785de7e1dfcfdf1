/* The verbs that send a request to a running host and print its answer, as tables or as JSON. */
#include <cjson/cJSON.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/macros.h"
#include "base/text.h"
#include "control/control.h"
#include "control/find.h"
#include "control/identity.h"
#include "control/requests.h"
#include "engine/engine.h"
#include "manifest/json.h"
#include "manifest/manifest.h"
#include "net/lib/listener_counters.h"
#include "os/os.h"

enum {
    ANSWER_BYTES_MAX = 64 * 1024 * 1024,
    TIMEOUT_S = 30, /* of --timeout */
    TIMEOUT_S_MAX = 86400,
    AGAIN_MS = 200, /* how often the client checks whether a stopping host is gone */
};

/* The time limit of a verb. */
static struct {
    unsigned timeout_s;
    uint64_t at_ms;
} limit;

static int left_ms(void) {
    uint64_t now_ms = engine_now_ms();
    return now_ms < limit.at_ms ? (int)(limit.at_ms - now_ms) : 0;
}

/* -- asking ---------------------------------------------------------------- */

static char *make_request(const struct command *options) {
    json_begin();
    cJSON *request = cJSON_CreateObject();
    cJSON_AddNumberToObject(request, "berth", REQUESTS_VERSION);
    cJSON_AddStringToObject(request, "verb", command_verbs[options->verb].words);
    if (options->word_count > 0) {
        cJSON *names = cJSON_AddArrayToObject(request, "names");
        for (size_t i = 0; i < options->word_count; i++) {
            json_append(names, cJSON_CreateString(options->words[i]));
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
    char *text = json_print(request); /* NULL without memory, never an incomplete request */
    cJSON_Delete(request);
    return text;
}

/* Reads one line, without its line end; NULL: there is none. */
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
        int64_t got = os_pipe_read(pipe, text + filled, 65536, left_ms());
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

/* -- errors before there is an answer -------------------------------------- */

static cJSON *make_answer(int code) {
    cJSON *answer = cJSON_CreateObject();
    cJSON_AddNumberToObject(answer, "berth", REQUESTS_VERSION);
    cJSON_AddBoolToObject(answer, "ok", false);
    cJSON_AddNumberToObject(answer, "code", code);
    cJSON_AddArrayToObject(answer, "errors");
    return answer;
}

/* Control characters, which a terminal would interpret, are printed as \\uXXXX, which means the
 * same in JSON. */
static void print_json(const char *text) {
    text_print(stdout, text);
    putchar('\n');
    fflush(stdout);
}

/* With --json, standard output gets an object in every case. */
static void tell_answer(cJSON *answer, bool json) {
    const cJSON *error;
    cJSON_ArrayForEach(error, cJSON_GetObjectItemCaseSensitive(answer, "errors")) {
        text_print(stderr, cJSON_IsString(error) ? error->valuestring : "out of memory");
        fputc('\n', stderr);
    }
    char *text = json ? cJSON_PrintUnformatted(answer) : NULL;
    if (text) {
        print_json(text);
    }
    cJSON_free(text);
    cJSON_Delete(answer);
}

static void add_error(cJSON *answer, const char *text) {
    cJSON *errors = cJSON_GetObjectItemCaseSensitive(answer, "errors");
    json_append(errors, cJSON_CreateString(text));
}

static int client_fail(const struct command *options, int code, const char *format, ...)
    BERTH_PRINTF(3, 4);
static int client_fail(const struct command *options, int code, const char *format, ...) {
    char text[OS_PATH_MAX + 1024] = "berth: ";
    size_t used = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + used, sizeof(text) - used, format, arguments);
    va_end(arguments);
    cJSON *answer = make_answer(code);
    add_error(answer, text);
    tell_answer(answer, options->json);
    return code;
}

/* Reports why no running host was found. */
static int fail_to_find(const struct command *options, const struct found_host *found) {
    cJSON *answer = make_answer(found->code);
    for (size_t i = 0; i < found->broken.count; i++) {
        char text[OS_PATH_MAX + 2048];
        manifest_error_format(&found->broken.items[i], found->path, text, sizeof(text));
        add_error(answer, text);
    }
    char why[sizeof(found->why) + 8];
    snprintf(why, sizeof(why), "berth: %s", found->why);
    add_error(answer, why);
    tell_answer(answer, options->json);
    return found->code;
}

/* -- tables ---------------------------------------------------------------- */

static const char *client_text_of(const cJSON *object, const char *key) {
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));
    return text ? text : "";
}

static double number_of(const cJSON *object, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

static const cJSON *client_list_of(const cJSON *object, const char *key) {
    return cJSON_GetObjectItemCaseSensitive(object, key);
}

static void client_join(const cJSON *list, char *text, size_t size) {
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

/* A plugin or listener in quarantine has no generation. */
static void format_generation(const cJSON *one, char *text, size_t size) {
    const cJSON *generation = client_list_of(one, "generation");
    if (cJSON_IsNumber(generation)) {
        snprintf(text, size, "%.0f", generation->valuedouble);
    } else {
        snprintf(text, size, "-");
    }
}

/* "draining 75 s": the time it has been draining. */
static void format_state(const cJSON *one, char *text, size_t size) {
    const cJSON *for_ms = client_list_of(one, "draining_for_ms");
    if (cJSON_IsNumber(for_ms)) {
        snprintf(text, size, "%s %.0f s", client_text_of(one, "state"), for_ms->valuedouble / 1000);
    } else {
        snprintf(text, size, "%s", client_text_of(one, "state"));
    }
}

/* Whether a newer generation of the listener has its own row. */
static bool is_replaced(const cJSON *one) {
    return strcmp(client_text_of(one, "draining_because"), "replaced") == 0;
}

/* "1234", "12.3K", "4.5G" */
static void format_bytes(double bytes, char *text, size_t size) {
    static const char units[] = "KMGTPE";
    const char *unit = units;
    if (bytes < 10000) {
        snprintf(text, size, "%.0f", bytes);
        return;
    }
    for (bytes /= 1024; bytes >= 1000 && unit[1] != '\0'; unit++) {
        bytes /= 1024;
    }
    snprintf(text, size, "%.1f%c", bytes, *unit);
}

/* The counters of a listener are printed in the row of its newest generation, because all
 * generations share them. For UDP, the accepted count is the number of datagrams. */
static void print_listener(const cJSON *one) {
    char addresses[512];
    char generation[16];
    char state[48];
    char accepted[32] = "";
    char received[32] = "";
    char sent[32] = "";
    const cJSON *counters = client_list_of(one, "counters");
    bool udp = strcmp(client_text_of(one, "transport"), "udp") == 0;
    client_join(client_list_of(one, "addresses"), addresses, sizeof(addresses));
    format_generation(one, generation, sizeof(generation));
    format_state(one, state, sizeof(state));
    if (counters && !is_replaced(one)) {
        snprintf(accepted, sizeof(accepted), "%.0f",
                 number_of(counters, udp ? "datagrams_received" : "accepted"));
        format_bytes(number_of(counters, "bytes_received"), received, sizeof(received));
        format_bytes(number_of(counters, "bytes_sent"), sent, sizeof(sent));
    }
    printf("%-20s %-14s %4s  %-14s %11.0f %10s %8s %8s  %s\n", client_text_of(one, "name"),
           client_text_of(one, "plugin"), generation, state, number_of(one, "connections"),
           accepted, received, sent, addresses);
}

static void print_listeners(const cJSON *result) {
    const cJSON *one;
    printf("%-20s %-14s %4s  %-14s %11s %10s %8s %8s  %s\n", "LISTENER", "PLUGIN", "GEN", "STATE",
           "CONNECTIONS", "ACCEPTED", "IN", "OUT", "ADDRESSES");
    cJSON_ArrayForEach(one, client_list_of(result, "listeners")) {
        print_listener(one);
    }
}

/* Prints the counters that are not 0, with their meaning; nothing if all are 0. */
static void print_counters(const cJSON *result) {
    const cJSON *one;
    bool has_header = false;
    for (size_t i = 0; i < listener_counter_count(); i++) {
        const struct listener_counter *counter = listener_counter_at(i);
        cJSON_ArrayForEach(one, client_list_of(result, "listeners")) {
            double total = number_of(client_list_of(one, "counters"), counter->name);
            if (total > 0 && !is_replaced(one)) {
                if (!has_header) {
                    printf("\n%-28s %-20s %12s  %s\n", "COUNTER", "LISTENER", "TOTAL", "MEANING");
                    has_header = true;
                }
                printf("%-28s %-20s %12.0f  %s\n", counter->name, client_text_of(one, "name"),
                       total, counter->meaning);
            }
        }
    }
}

/* name{label="value",…}, as Prometheus writes it. */
static void format_metric(const cJSON *metric, char *text, size_t size) {
    const cJSON *label;
    size_t used = 0;
    text_append(text, size, &used, "%s", client_text_of(metric, "name"));
    cJSON_ArrayForEach(label, client_list_of(metric, "labels")) {
        char safe[512];
        text_append(text, size, &used, "%s%s=\"%s\"", label->prev && label->prev->next ? "," : "{",
                    label->string, text_safe(safe, sizeof(safe), label->valuestring));
    }
    if (cJSON_GetArraySize(client_list_of(metric, "labels")) > 0) {
        text_append(text, size, &used, "}");
    }
}

static void print_metric(const cJSON *listener, const cJSON *metric) {
    char name[1024];
    char safe[256];
    format_metric(metric, name, sizeof(name));
    const char *help = text_safe(safe, sizeof(safe), client_text_of(metric, "help"));
    if (strcmp(client_text_of(metric, "kind"), "histogram") != 0) {
        printf("%-40s %-20s %12.0f  %s\n", name, client_text_of(listener, "name"),
               number_of(metric, "value"), help);
        return;
    }
    double count = number_of(metric, "count");
    printf("%-40s %-20s %12.0f  %s (mean %.1f)\n", name, client_text_of(listener, "name"), count,
           help, count > 0 ? number_of(metric, "sum") / count : 0.0);
}

/* The metrics that plugins define; of the generation that serves. */
static void print_metrics(const cJSON *result) {
    const cJSON *one;
    const cJSON *metric;
    bool has_header = false;
    cJSON_ArrayForEach(one, client_list_of(result, "listeners")) {
        cJSON_ArrayForEach(metric, client_list_of(one, "metrics")) {
            if (is_replaced(one)) {
                continue;
            }
            if (!has_header) {
                printf("\n%-40s %-20s %12s  %s\n", "METRIC", "LISTENER", "VALUE", "MEANING");
                has_header = true;
            }
            print_metric(one, metric);
        }
    }
}

static void print_plugins(const cJSON *result) {
    const cJSON *one;
    char listeners[512];
    printf("%-20s %-10s %4s  %-10s %s\n", "PLUGIN", "VERSION", "GEN", "STATE", "LISTENERS");
    cJSON_ArrayForEach(one, client_list_of(result, "plugins")) {
        client_join(client_list_of(one, "listeners"), listeners, sizeof(listeners));
        char generation[16];
        format_generation(one, generation, sizeof(generation));
        printf("%-20s %-10s %4s  %-10s %s\n", client_text_of(one, "id"),
               client_text_of(one, "version"), generation, client_text_of(one, "state"), listeners);
    }
}

static void print_last_end(const cJSON *result) {
    const cJSON *end = client_list_of(result, "last_end");
    const cJSON *one;
    if (!end) {
        return;
    }
    const char *plugin = client_text_of(end, "plugin");
    printf("last end: %s, %.0f s ago, laid to %s%s\n", client_text_of(end, "how"),
           number_of(end, "ago_ms") / 1000, plugin[0] != '\0' ? "plugin " : "no plugin", plugin);
    cJSON_ArrayForEach(one, client_list_of(end, "calls")) {
        const char *listener = client_text_of(one, "listener");
        printf("last end: callback %s of plugin %s, generation %.0f (%s)%s%s%s\n",
               client_text_of(one, "callback"), client_text_of(one, "plugin"),
               number_of(one, "generation"), client_text_of(one, "version"),
               listener[0] != '\0' ? ", listener " : "", listener,
               cJSON_IsTrue(client_list_of(one, "waited")) ? ", which waited" : "");
    }
}

static void print_quarantine(const cJSON *result) {
    const cJSON *one;
    cJSON_ArrayForEach(one, client_list_of(result, "quarantine")) {
        printf("quarantine: %s for %.0f s: %s; \"berth release %s\" lets it in again\n",
               client_text_of(one, "plugin"), number_of(one, "for_ms") / 1000,
               client_text_of(one, "reason"), client_text_of(one, "plugin"));
    }
}

/* Prints nothing if no lines are missing in the log. */
static void print_log(const cJSON *result) {
    const cJSON *log = client_list_of(result, "log");
#define COUNTER(name, meaning)                                                                     \
    if (number_of(log, #name) > 0) {                                                               \
        printf("log: %.0f " meaning "\n", number_of(log, #name));                                  \
    }
#define COUNTERS_LOG
#include "base/counters.def"
}

/* The answer of a host whose control thread is busy. */
static void print_busy(const cJSON *result) {
    printf("process %.0f, %s, busy for %.0f ms: %s\n", number_of(result, "pid"),
           client_text_of(result, "version"), number_of(result, "busy_ms"),
           client_text_of(result, "busy_with"));
}

static void print_status(const cJSON *result) {
    if (client_list_of(result, "busy_with")) {
        print_busy(result);
        return;
    }
    double seconds = number_of(result, "uptime_ms") / 1000;
    printf("%s %s, process %.0f, %s for %.0f s\n", client_text_of(result, "name"),
           client_text_of(result, "version"), number_of(result, "pid"),
           client_text_of(result, "state"), seconds);
    printf("engine %s, %.0f workers, %.0f of %.0f connections\n", client_text_of(result, "engine"),
           number_of(result, "workers"), number_of(result, "connections"),
           number_of(result, "connections_max"));
    printf("manifest %s\n", client_text_of(result, "manifest"));
    if (cJSON_IsTrue(client_list_of(result, "supervised"))) {
        printf("supervised, %.0f restarts\n", number_of(result, "restarts"));
        print_last_end(result);
    }
    print_log(result);
    print_quarantine(result);
    const cJSON *stalled;
    cJSON_ArrayForEach(stalled, client_list_of(result, "stalled")) {
        printf("stalled: %s\n", cJSON_IsString(stalled) ? stalled->valuestring : "");
    }
    printf("\n");
    print_listeners(result);
    printf("\n");
    print_plugins(result);
    print_counters(result);
    print_metrics(result);
}

static void print_change(const cJSON *result) {
    const char *before = cJSON_IsTrue(client_list_of(result, "dry_run")) ? "would be: " : "";
#define GAUGE(name, label, meaning)                                                                \
    printf("%s%.0f " label, before, number_of(result, #name));                                     \
    before = ", ";
#define COUNTERS_CHANGE
#include "base/counters.def"
    putchar('\n');
}

static void print_paused(const cJSON *result) {
    printf("%.0f listeners paused\n", number_of(result, "paused"));
}

static void print_resumed(const cJSON *result) {
    printf("%.0f listeners resumed\n", number_of(result, "resumed"));
}

static void print_stopping(const cJSON *result) {
    if (client_list_of(result, "busy_with")) {
        printf("stopping: ");
        print_busy(result);
        fflush(stdout);
        return;
    }
    printf("stopping: %.0f connections are open\n", number_of(result, "connections"));
    fflush(stdout);
}

/* -- the verbs ------------------------------------------------------------- */

static const struct verb {
    void (*print)(const cJSON *result);
    bool until_end; /* returns when the host is gone */
    bool needs_names;
} verbs[COMMAND_VERB_COUNT] = {
    [COMMAND_STATUS] = {print_status, false, false},
    [COMMAND_LISTENERS] = {print_listeners, false, false},
    [COMMAND_PLUGINS] = {print_plugins, false, false},
    [COMMAND_PAUSE] = {print_paused, false, true},
    [COMMAND_RESUME] = {print_resumed, false, true},
    [COMMAND_RESTART] = {print_change, false, true},
    [COMMAND_RELOAD] = {print_change, false, false},
    [COMMAND_RELEASE] = {print_change, false, true},
    [COMMAND_STOP] = {print_stopping, true, false},
};

/* Prints which host answered. */
static void print_host(FILE *stream, const cJSON *answer) {
    const cJSON *host = client_list_of(answer, "host");
    if (host) {
        fprintf(stream, "host \"%s\", process %.0f, manifest %s\n", client_text_of(host, "name"),
                number_of(host, "pid"), client_text_of(host, "manifest"));
    }
}

/* The answer may come from any process: its control characters must not reach the terminal. */
static void make_safe(cJSON *item) {
    enum { GROWTH = 6 }; /* a byte may become \uXXXX */
    cJSON *child;
    cJSON_ArrayForEach(child, item) {
        make_safe(child);
    }
    if (item && cJSON_IsString(item)) {
        size_t room = strlen(item->valuestring) * GROWTH + 1;
        char *safe = alloc_zeroed(room);
        if (!safe || !cJSON_SetValuestring(item, text_safe(safe, room, item->valuestring))) {
            item->valuestring[0] = '\0';
        }
        alloc_free(safe);
    }
}

static int client_print_answer(const struct verb *verb, const char *text,
                               const struct command *options) {
    cJSON *answer = cJSON_Parse(text);
    const cJSON *error;
    int code = answer ? (int)number_of(answer, "code") : EXIT_FAILED;
    make_safe(answer);
    if (options->json && answer) {
        print_json(text);
    } else if (cJSON_IsTrue(client_list_of(answer, "ok"))) {
        if (verb->print != print_status) { /* which prints the host itself */
            print_host(stdout, answer);
        }
        verb->print(client_list_of(answer, "result"));
    }
    cJSON_ArrayForEach(error, client_list_of(answer, "errors")) {
        if (!options->json) {
            fprintf(stderr, "berth: %s\n", cJSON_IsString(error) ? error->valuestring : "?");
        }
    }
    if (answer && code != EXIT_FINE && !options->json) {
        fprintf(stderr, "berth: that is the answer of ");
        print_host(stderr, answer);
    }
    if (!answer) {
        fprintf(stderr, "berth: the host's answer is not understood\n");
    }
    cJSON_Delete(answer);
    return code;
}

/* Sends the request and returns the answer; NULL: there was none. */
static char *client_exchange(struct os_pipe *pipe, const char *request) {
    bool sent = request && os_pipe_write(pipe, request, strlen(request), left_ms()) &&
                os_pipe_write(pipe, "\n", 1, left_ms());
    return sent ? read_answer(pipe) : NULL;
}

/* Whether the same process still answers under that name. */
static bool client_is_there(struct os_pipe *pipe, double pid) {
    struct identity identity;
    return identity_ask(pipe, left_ms(), &identity) && (double)identity.pid == pid;
}

/* The host closes its end of the pipe when it ends, but also when it evicts this client for
 * another. So the client connects and asks again until no host answers. False: the host is still
 * there when the time is over. */
static bool await_end(const char *name, struct os_pipe *first, double pid) {
    struct os_pipe *pipe = first;
    bool there = true;
    struct os_mutex mutex;
    struct os_condition never;
    os_mutex_init(&mutex);
    os_condition_init(&never);
    while (there && left_ms() > 0) {
        char last;
        while (os_pipe_read(pipe, &last, 1, left_ms()) > 0) {
        }
        if (pipe != first) {
            os_pipe_close(pipe);
        }
        os_mutex_lock(&mutex);
        os_condition_wait(&never, &mutex, AGAIN_MS);
        os_mutex_unlock(&mutex);
        pipe = os_pipe_connect(name, NULL);
        there = pipe && client_is_there(pipe, pid);
    }
    if (pipe != first) {
        os_pipe_close(pipe);
    }
    os_condition_fini(&never);
    os_mutex_fini(&mutex);
    return !there && left_ms() > 0;
}

static double pid_in(const char *text) {
    cJSON *answer = cJSON_Parse(text);
    double pid = number_of(client_list_of(answer, "host"), "pid");
    cJSON_Delete(answer);
    return pid;
}

static int client_talk(const struct verb *verb, const struct found_host *host,
                       const struct command *options) {
    char *request = make_request(options);
    char *answer = client_exchange(host->pipe, request);
    int code = EXIT_FAILED;
    if (answer) {
        code = client_print_answer(verb, answer, options);
        const char *name = options->name ? options->name : host->identity.name;
        if (code == EXIT_FINE && verb->until_end && !await_end(name, host->pipe, pid_in(answer))) {
            code = EXIT_FAILED;
            fprintf(stderr,
                    "berth: the host is still stopping after %u s, and goes on with that "
                    "(--timeout SECONDS waits longer, stop --now cuts connections)\n",
                    limit.timeout_s);
        }
    } else if (left_ms() == 0) {
        client_fail(options, EXIT_FAILED,
                    "the host has not answered within %u s; it may do what was asked all the same "
                    "(--timeout SECONDS waits longer)",
                    limit.timeout_s);
    } else {
        client_fail(options, EXIT_FAILED, "the host does not answer");
    }
    cJSON_free(request);
    alloc_free(answer);
    return code;
}

static bool read_limit(const char *text) {
    char *end = NULL;
    unsigned long seconds = text ? strtoul(text, &end, 10) : TIMEOUT_S;
    bool good = !text || (text[0] >= '0' && text[0] <= '9' && *end == '\0' && seconds >= 1 &&
                          seconds <= TIMEOUT_S_MAX);
    limit.timeout_s = (unsigned)seconds;
    limit.at_ms = engine_now_ms() + (uint64_t)seconds * 1000;
    return good;
}

static int client_ask(const struct verb *verb, const struct command *options) {
    if (!read_limit(options->timeout)) {
        return client_fail(options, EXIT_USAGE,
                           "--timeout: expected 1 to %d seconds, not \"%.40s\"", TIMEOUT_S_MAX,
                           options->timeout);
    }
    struct found_host *host = alloc_zeroed(sizeof(*host));
    if (!host) {
        return client_fail(options, EXIT_FAILED, "out of memory");
    }
    find_host(options, limit.at_ms, host);
    int code = host->pipe ? client_talk(verb, host, options) : fail_to_find(options, host);
    found_host_fini(host);
    alloc_free(host);
    return code;
}

/* cJSON uses the host's allocator, as in the reader of the manifest. */
int control_ask(const struct command *options) {
    const struct verb *verb = &verbs[options->verb];
    if (verb->needs_names && options->all == (options->word_count > 0)) {
        return client_fail(options, EXIT_USAGE,
                           "expected the names of listeners or plugins, or --all");
    }
    json_setup();
    return client_ask(verb, options);
}

bool control_is_running(void) {
    const struct command none = {0};
    struct found_host *host = alloc_zeroed(sizeof(*host));
    if (!host) {
        return false;
    }
    find_host(&none, engine_now_ms() + (uint64_t)TIMEOUT_S * 1000, host);
    bool running = host->pipe != NULL;
    found_host_fini(host);
    alloc_free(host);
    return running;
}
