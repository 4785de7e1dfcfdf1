#include "control/requests.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/macros.h"
#include "control/control.h"
#include "control/guard.h"
#include "control/identity.h"
#include "control/names.h"
#include "control/service.h"
#include "control/status.h"
#include "manifest/json.h"
#include "manifest/manifest.h"
#include "net/listener.h"
#include "os/os.h"

/* A request that is being answered. */
struct asked {
    struct service *service;
    const cJSON *request;
    cJSON *result;
    cJSON *errors;
    int code;
    const char *names[REQUEST_NAMES_MAX];
    size_t name_count;
    bool all;
};

static void refuse(struct asked *asked, int code, const char *text) {
    json_append(asked->errors, cJSON_CreateString(text));
    asked->code = code;
}

static bool is_true(const struct asked *asked, const char *key) {
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(asked->request, key));
}

static void add_errors(struct asked *asked, const struct manifest_errors *errors) {
    for (size_t i = 0; i < errors->count; i++) {
        const char *path = asked->service->manifest_path;
        char text[OS_PATH_MAX + 2048];
        manifest_error_format(&errors->items[i], path, text, sizeof(text));
        json_append(asked->errors, cJSON_CreateString(text));
    }
}

/* -- reload, restart -----------------------------------------------------------------------------
 */

static void tell_change(struct asked *asked, int code, const struct change_counts *counts,
                        struct change_problems *problems) {
    asked->code = code;
    add_errors(asked, &problems->manifest);
    add_errors(asked, &problems->plugins);
    add_errors(asked, &problems->failures);
    if (code != EXIT_FINE && cJSON_GetArraySize(asked->errors) == 0) {
        refuse(asked, code, "out of memory, also for saying what is wrong");
    }
    if (code == EXIT_FINE) {
#define GAUGE(name, label, meaning) cJSON_AddNumberToObject(asked->result, #name, counts->name);
#define COUNTERS_CHANGE
#include "base/counters.def"
        cJSON_AddBoolToObject(asked->result, "dry_run", is_true(asked, "dry_run"));
    }
    if (code != EXIT_FINE || !is_true(asked, "dry_run")) {
        service_log_outcome(asked->service, code,
                            cJSON_GetObjectItemCaseSensitive(asked->request, "verb")->valuestring,
                            is_true(asked, "dry_run") ? "asked for, dry run" : "asked for", counts,
                            problems);
    }
    change_problems_fini(problems);
}

static void do_reload(struct asked *asked) {
    struct change_counts counts;
    struct change_problems problems = {0};
    int code = service_reload(asked->service, is_true(asked, "dry_run"), &counts, &problems);
    tell_change(asked, code, &counts, &problems);
}

static void do_restart(struct asked *asked) {
    struct change_counts counts;
    struct change_problems problems = {0};
    int code = service_restart(asked->service, asked->names, asked->name_count, asked->all, &counts,
                               &problems);
    tell_change(asked, code, &counts, &problems);
}

static void do_release(struct asked *asked) {
    struct change_counts counts;
    struct change_problems problems = {0};
    int code = service_release(asked->service, asked->names, asked->name_count, asked->all, &counts,
                               &problems);
    tell_change(asked, code, &counts, &problems);
}

/* -- pause, resume -------------------------------------------------------------------------------
 */

/* Every name must be that of something before anything is done. */
static bool check_names(struct asked *asked) {
    bool known = true;
    for (size_t i = 0; i < asked->name_count; i++) {
        char text[512];
        if (!names_check(asked->service->instance.edition->manifest,
                         asked->service->instance.supervised, asked->names[i], text,
                         sizeof(text))) {
            refuse(asked, EXIT_FAILED, text);
            known = false;
        }
    }
    return known;
}

static void set_paused(struct asked *asked, bool paused) {
    unsigned count = 0;
    if (!check_names(asked)) {
        return;
    }
    for (struct unit *unit = asked->service->instance.serving; unit; unit = unit->next) {
        bool meant = asked->all;
        for (size_t i = 0; i < asked->name_count && !meant; i++) {
            meant = names_mean(asked->names[i], unit->from->name, unit->from->plugin);
        }
        if (meant && paused) {
            listener_pause(unit->listener);
        } else if (meant) {
            listener_resume(unit->listener);
        }
        count += meant;
    }
    cJSON_AddNumberToObject(asked->result, paused ? "paused" : "resumed", count);
}

static void do_pause(struct asked *asked) {
    set_paused(asked, true);
}

static void do_resume(struct asked *asked) {
    set_paused(asked, false);
}

/* -- status, stop --------------------------------------------------------------------------------
 */

static void do_identity(struct asked *asked) {
    (void)asked;
}

static void do_status(struct asked *asked) {
    status_describe(asked->service, asked->result);
}

static void do_listeners(struct asked *asked) {
    status_describe_listeners(asked->service, asked->result);
}

static void do_plugins(struct asked *asked) {
    status_describe_plugins(asked->service, asked->result);
}

static void do_stop(struct asked *asked) {
    asked->service->stop_wanted = true;
    asked->service->stop_now = asked->service->stop_now || is_true(asked, "now");
    guard_stop(&asked->service->instance.guard, asked->service->stop_now);
    cJSON_AddBoolToObject(asked->result, "stopping", true);
    cJSON_AddNumberToObject(asked->result, "pid", (double)os_process_id());
    cJSON_AddNumberToObject(asked->result, "connections",
                            instance_connections(&asked->service->instance));
    log_info(NULL, "asked to stop%s", is_true(asked, "now") ? " now" : "");
}

/* -- requests ------------------------------------------------------------------------------------
 */

enum { KEYS_MAX = 3 };

static const struct {
    const char *verb;
    void (*run)(struct asked *asked);
    const char *keys[KEYS_MAX]; /* besides "berth" and "verb" */
    bool changes;               /* not while the host stops */
} verbs[] = {
    {REQUESTS_IDENTITY, do_identity, {0}, false},    {"status", do_status, {0}, false},
    {"listeners", do_listeners, {0}, false},         {"plugins", do_plugins, {0}, false},
    {"pause", do_pause, {"names", "all"}, true},     {"resume", do_resume, {"names", "all"}, true},
    {"restart", do_restart, {"names", "all"}, true}, {"reload", do_reload, {"dry_run"}, true},
    {"release", do_release, {"names", "all"}, true}, {"stop", do_stop, {"now"}, false},
};

static bool read_names(struct asked *asked, const cJSON *names) {
    const cJSON *name;
    bool good = cJSON_IsArray(names) && cJSON_GetArraySize(names) > 0;
    cJSON_ArrayForEach(name, names) {
        good = good && cJSON_IsString(name) && asked->name_count < REQUEST_NAMES_MAX;
        if (good) {
            asked->names[asked->name_count++] = name->valuestring;
        }
    }
    if (!good) {
        refuse(asked, EXIT_USAGE, "\"names\": expected an array of 1 to 1024 strings");
    }
    return good;
}

/* " (did you mean …)", or "". */
static const char *suggest(char *text, size_t size, const char *word, const char *const *known,
                           size_t count) {
    const char *nearest = manifest_nearest(word, known, count);
    text[0] = '\0';
    if (nearest) {
        snprintf(text, size, " (did you mean \"%s\"?)", nearest);
    }
    return text;
}

/* A key behind "berth" and "verb": one that the verb knows, once, and of the right kind. */
static bool read_key(struct asked *asked, const cJSON *item, size_t verb) {
    const char *const *keys = verbs[verb].keys;
    size_t count = 0;
    size_t at = KEYS_MAX;
    char text[256];
    char meant[128];
    for (; count < KEYS_MAX && keys[count]; count++) {
        at = strcmp(keys[count], item->string) == 0 ? count : at;
    }
    if (at == KEYS_MAX) {
        snprintf(text, sizeof(text), "\"%.64s\": unknown key of \"%s\"%s", item->string,
                 verbs[verb].verb, suggest(meant, sizeof(meant), item->string, keys, count));
        refuse(asked, EXIT_USAGE, text);
        return false;
    }
    if (strcmp(item->string, "names") == 0) {
        return read_names(asked, item);
    }
    if (!cJSON_IsBool(item)) {
        snprintf(text, sizeof(text), "\"%s\": expected true or false", item->string);
        refuse(asked, EXIT_USAGE, text);
        return false;
    }
    return true;
}

static bool is_given_twice(const cJSON *item) {
    const cJSON *other = item->next;
    while (other && strcmp(other->string, item->string) != 0) {
        other = other->next;
    }
    return other != NULL;
}

/* All of its keys, before anything is done. */
static bool read_keys(struct asked *asked, size_t verb) {
    const cJSON *item;
    char text[128];
    cJSON_ArrayForEach(item, asked->request) {
        if (is_given_twice(item)) {
            snprintf(text, sizeof(text), "\"%.64s\": given twice", item->string);
            refuse(asked, EXIT_USAGE, text);
            return false;
        }
        bool head = strcmp(item->string, "berth") == 0 || strcmp(item->string, "verb") == 0;
        if (!head && !read_key(asked, item, verb)) {
            return false;
        }
    }
    asked->all = is_true(asked, "all");
    if (verbs[verb].keys[1] && asked->all == (asked->name_count > 0)) {
        refuse(asked, EXIT_USAGE, "expected either \"names\" or \"all\": true");
        return false;
    }
    return true;
}

static void refuse_verb(struct asked *asked, const cJSON *verb) {
    const char *known[ARRAY_COUNT(verbs)];
    char text[512] = "\"verb\": expected ";
    char meant[128] = "";
    size_t count = ARRAY_COUNT(verbs);
    for (size_t i = 0; i < count; i++) {
        size_t used = strlen(text);
        known[i] = verbs[i].verb;
        snprintf(text + used, sizeof(text) - used, "%s\"%s\"",
                 i == 0          ? ""
                 : i + 1 < count ? ", "
                                 : " or ",
                 known[i]);
    }
    if (cJSON_IsString(verb)) {
        size_t used = strlen(text);
        snprintf(text + used, sizeof(text) - used, "%s",
                 suggest(meant, sizeof(meant), verb->valuestring, known, count));
    }
    refuse(asked, EXIT_USAGE, text);
}

static void answer(struct asked *asked) {
    const cJSON *version = cJSON_GetObjectItemCaseSensitive(asked->request, "berth");
    const cJSON *verb = cJSON_GetObjectItemCaseSensitive(asked->request, "verb");
    size_t at = 0;
    if (!cJSON_IsObject(asked->request)) {
        refuse(asked, EXIT_USAGE, "expected a JSON object on one line");
        return;
    }
    if (!cJSON_IsNumber(version) || version->valuedouble != REQUESTS_VERSION) {
        refuse(asked, EXIT_USAGE, "\"berth\": expected 1, the version this host speaks");
        return;
    }
    while (at < ARRAY_COUNT(verbs) &&
           (!cJSON_IsString(verb) || strcmp(verbs[at].verb, verb->valuestring) != 0)) {
        at++;
    }
    if (at == ARRAY_COUNT(verbs)) {
        refuse_verb(asked, verb);
    } else if (read_keys(asked, at)) {
        if (verbs[at].changes && asked->service->stopping) {
            refuse(asked, EXIT_FAILED, "the host is stopping");
        } else {
            verbs[at].run(asked);
        }
    }
}

/* The line and nothing behind it; cJSON bounds the depth. A NUL ends the text too early, and so
 * does one that an escape makes: no name has any. */
static cJSON *parse(const char *text, size_t size) {
    bool whole = memchr(text, '\0', size) == NULL && strstr(text, "\\u0000") == NULL;
    return whole ? cJSON_ParseWithLengthOpts(text, size + 1, NULL, true) : NULL;
}

static bool add_identity(cJSON *root, const struct service *service) {
    struct identity identity = service_identity(service);
    cJSON *object = cJSON_AddObjectToObject(root, "host");
    return object && identity_describe(&identity, object);
}

char *requests_answer_at_once(const struct service *service, const char *text, size_t size) {
    static const char request[] = IDENTITY_REQUEST;
    if (size != sizeof(request) - 1 || memcmp(text, request, size) != 0) {
        return NULL;
    }
    cJSON *root = cJSON_CreateObject();
    bool whole = root && cJSON_AddNumberToObject(root, "berth", REQUESTS_VERSION) &&
                 cJSON_AddTrueToObject(root, "ok") &&
                 cJSON_AddNumberToObject(root, "code", EXIT_FINE) && add_identity(root, service) &&
                 cJSON_AddObjectToObject(root, "result");
    char *printed = whole ? cJSON_PrintUnformatted(root) : NULL;
    cJSON_Delete(root);
    return printed;
}

/* In the place of an answer that is not whole. The verb may have done its work. */
static char *out_of_memory(void) {
    static const char text[] = "{\"berth\":%d,\"ok\":false,\"code\":%d,\"errors\":[\"out of "
                               "memory: the answer is not whole, "
                               "ask again; what the verb was to do may be done\"]}";
    char *answer = cJSON_malloc(sizeof(text) + 32);
    if (answer) {
        snprintf(answer, sizeof(text) + 32, text, REQUESTS_VERSION, EXIT_FAILED);
    }
    return answer;
}

char *requests_answer(struct service *service, const char *text, size_t size) {
    json_begin();
    struct asked *asked = alloc_zeroed(sizeof(*asked));
    cJSON *request = parse(text, size);
    cJSON *root = cJSON_CreateObject();
    char *printed = NULL;
    if (asked && root) {
        asked->service = service;
        asked->request = request;
        asked->result = cJSON_CreateObject();
        asked->errors = cJSON_CreateArray();
        answer(asked);
        bool fine = asked->code == EXIT_FINE;
        cJSON_AddNumberToObject(root, "berth", REQUESTS_VERSION);
        cJSON_AddBoolToObject(root, "ok", fine);
        cJSON_AddNumberToObject(root, "code", asked->code);
        add_identity(root, service);
        json_add(root, fine ? "result" : "errors", fine ? asked->result : asked->errors);
        cJSON_Delete(fine ? asked->errors : asked->result);
        printed = json_print(root);
    }
    cJSON_Delete(root);
    cJSON_Delete(request);
    alloc_free(asked);
    return printed ? printed : out_of_memory();
}

/* -- while the control thread is busy ------------------------------------------------------------
 */

enum { REFUSE_BUSY_MS = 10000 }; /* the client is told before it gives up by itself */

/* What a client of `status` and of `stop` looks for. */
static void describe_busy(cJSON *result, const char *what, uint64_t busy_ms) {
    cJSON_AddNumberToObject(result, "pid", (double)os_process_id());
    cJSON_AddStringToObject(result, "version", BERTH_VERSION);
    cJSON_AddStringToObject(result, "state", "busy");
    cJSON_AddStringToObject(result, "busy_with", what);
    cJSON_AddNumberToObject(result, "busy_ms", (double)busy_ms);
}

static char *print_answer(const struct service *service, bool fine, cJSON *content) {
    cJSON *root = cJSON_CreateObject();
    cJSON_AddNumberToObject(root, "berth", REQUESTS_VERSION);
    cJSON_AddBoolToObject(root, "ok", fine);
    cJSON_AddNumberToObject(root, "code", fine ? EXIT_FINE : EXIT_FAILED);
    add_identity(root, service);
    json_add(root, fine ? "result" : "errors", content);
    char *printed = json_print(root);
    cJSON_Delete(root);
    return printed;
}

static char *refuse_busy(const struct service *service, const char *what) {
    char message[640];
    snprintf(message, sizeof(message), "the host is busy, and nothing has been done: %s", what);
    cJSON *errors = cJSON_CreateArray();
    json_append(errors, cJSON_CreateString(message));
    return print_answer(service, false, errors);
}

char *requests_answer_busy(struct service *service, const char *text, size_t size,
                           uint64_t waited_ms) {
    char what[512] = "";
    uint64_t busy_ms = guard_busy_ms(&service->instance.guard, what, sizeof(what));
    json_begin();
    cJSON *request = parse(text, size);
    const char *verb = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(request, "verb"));
    bool now = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(request, "now"));
    char *answer = NULL;
    if (busy_ms > 0 && verb && strcmp(verb, "stop") == 0) {
        cJSON *result = cJSON_CreateObject();
        guard_stop(&service->instance.guard, now);
        os_signals_wake();
        cJSON_AddBoolToObject(result, "stopping", true);
        describe_busy(result, what, busy_ms);
        answer = print_answer(service, true, result);
    } else if (busy_ms > 0 && verb && strcmp(verb, "status") == 0) {
        cJSON *result = cJSON_CreateObject();
        describe_busy(result, what, busy_ms);
        answer = print_answer(service, true, result);
    } else if (busy_ms > 0 && waited_ms >= REFUSE_BUSY_MS) {
        answer = refuse_busy(service, what);
    }
    cJSON_Delete(request);
    return answer;
}
