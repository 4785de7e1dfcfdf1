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
#include "net/listen/listener.h"
#include "os/os.h"

/* A request that is being answered. */
struct rpc_request {
    struct service *service;
    const cJSON *request;
    cJSON *result;
    cJSON *errors;
    int code;
    const char *names[REQUEST_NAMES_MAX];
    size_t name_count;
    bool all;
};

static void request_refuse(struct rpc_request *rpc, int code, const char *text) {
    json_append(rpc->errors, cJSON_CreateString(text));
    rpc->code = code;
}

static bool is_true(const struct rpc_request *rpc, const char *key) {
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(rpc->request, key));
}

static void add_errors(struct rpc_request *rpc, const struct manifest_errors *errors) {
    for (size_t i = 0; i < errors->count; i++) {
        const char *path = rpc->service->manifest_path;
        char text[OS_PATH_MAX + 2048];
        manifest_error_format(&errors->items[i], path, text, sizeof(text));
        json_append(rpc->errors, cJSON_CreateString(text));
    }
}

/* -- reload, restart ------------------------------------------------------- */

static void tell_change(struct rpc_request *rpc, int code, const struct reconcile_counts *counts,
                        struct reconcile_problems *problems) {
    rpc->code = code;
    add_errors(rpc, &problems->manifest);
    add_errors(rpc, &problems->plugins);
    add_errors(rpc, &problems->failures);
    if (code != EXIT_FINE && cJSON_GetArraySize(rpc->errors) == 0) {
        request_refuse(rpc, code, "out of memory, also for saying what is wrong");
    }
    if (code == EXIT_FINE) {
#define GAUGE(name, label, meaning) cJSON_AddNumberToObject(rpc->result, #name, counts->name);
#define COUNTERS_CHANGE
#include "base/counters.def"
        cJSON_AddBoolToObject(rpc->result, "dry_run", is_true(rpc, "dry_run"));
    }
    if (code != EXIT_FINE || !is_true(rpc, "dry_run")) {
        service_log_outcome(
            rpc->service, code, cJSON_GetObjectItemCaseSensitive(rpc->request, "verb")->valuestring,
            is_true(rpc, "dry_run") ? "asked for, dry run" : "asked for", counts, problems);
    }
    reconcile_problems_fini(problems);
}

static void do_reload(struct rpc_request *rpc) {
    struct reconcile_counts counts;
    struct reconcile_problems problems = {0};
    int code = service_reload(rpc->service, is_true(rpc, "dry_run"), &counts, &problems);
    tell_change(rpc, code, &counts, &problems);
}

static void do_restart(struct rpc_request *rpc) {
    struct reconcile_counts counts;
    struct reconcile_problems problems = {0};
    int code =
        service_restart(rpc->service, rpc->names, rpc->name_count, rpc->all, &counts, &problems);
    tell_change(rpc, code, &counts, &problems);
}

static void do_release(struct rpc_request *rpc) {
    struct reconcile_counts counts;
    struct reconcile_problems problems = {0};
    int code =
        service_release(rpc->service, rpc->names, rpc->name_count, rpc->all, &counts, &problems);
    tell_change(rpc, code, &counts, &problems);
}

/* -- pause, resume --------------------------------------------------------- */

/* Every name must be known before anything is done. */
static bool request_check_names(struct rpc_request *rpc) {
    bool known = true;
    for (size_t i = 0; i < rpc->name_count; i++) {
        char text[512];
        if (!names_check(rpc->service->runtime.config_snapshot->manifest,
                         rpc->service->runtime.supervised, rpc->names[i], text, sizeof(text))) {
            request_refuse(rpc, EXIT_FAILED, text);
            known = false;
        }
    }
    return known;
}

static void set_paused(struct rpc_request *rpc, bool paused) {
    unsigned count = 0;
    if (!request_check_names(rpc)) {
        return;
    }
    for (struct listener_generation *generation = rpc->service->runtime.serving; generation;
         generation = generation->next) {
        bool meant = rpc->all;
        for (size_t i = 0; i < rpc->name_count && !meant; i++) {
            meant = names_mean(rpc->names[i], generation->from->name, generation->from->plugin);
        }
        if (meant && paused) {
            listener_pause(generation->listener);
        } else if (meant) {
            listener_resume(generation->listener);
        }
        count += meant;
    }
    cJSON_AddNumberToObject(rpc->result, paused ? "paused" : "resumed", count);
}

static void do_pause(struct rpc_request *rpc) {
    set_paused(rpc, true);
}

static void do_resume(struct rpc_request *rpc) {
    set_paused(rpc, false);
}

/* -- status, stop ---------------------------------------------------------- */

static void do_identity(struct rpc_request *rpc) {
    (void)rpc;
}

static void do_status(struct rpc_request *rpc) {
    status_describe(rpc->service, rpc->result);
}

static void do_listeners(struct rpc_request *rpc) {
    status_describe_listeners(rpc->service, rpc->result);
}

static void do_plugins(struct rpc_request *rpc) {
    status_describe_plugins(rpc->service, rpc->result);
}

static void do_stop(struct rpc_request *rpc) {
    rpc->service->stop_wanted = true;
    rpc->service->stop_now = rpc->service->stop_now || is_true(rpc, "now");
    guard_stop(&rpc->service->runtime.guard, rpc->service->stop_now);
    cJSON_AddBoolToObject(rpc->result, "stopping", true);
    cJSON_AddNumberToObject(rpc->result, "pid", (double)os_process_id());
    cJSON_AddNumberToObject(rpc->result, "connections",
                            runtime_connections(&rpc->service->runtime));
    log_info(NULL, "asked to stop%s", is_true(rpc, "now") ? " now" : "");
}

/* -- requests -------------------------------------------------------------- */

enum { KEYS_MAX = 3 };

static const struct {
    const char *verb;
    void (*run)(struct rpc_request *rpc);
    const char *keys[KEYS_MAX]; /* besides "berth" and "verb" */
    bool changes;               /* not while the host stops */
} verbs[] = {
    {REQUESTS_IDENTITY, do_identity, {0}, false},    {"status", do_status, {0}, false},
    {"listeners", do_listeners, {0}, false},         {"plugins", do_plugins, {0}, false},
    {"pause", do_pause, {"names", "all"}, true},     {"resume", do_resume, {"names", "all"}, true},
    {"restart", do_restart, {"names", "all"}, true}, {"reload", do_reload, {"dry_run"}, true},
    {"release", do_release, {"names", "all"}, true}, {"stop", do_stop, {"now"}, false},
};

static bool request_read_names(struct rpc_request *rpc, const cJSON *names) {
    const cJSON *name;
    bool good = cJSON_IsArray(names) && cJSON_GetArraySize(names) > 0;
    cJSON_ArrayForEach(name, names) {
        good = good && cJSON_IsString(name) && rpc->name_count < REQUEST_NAMES_MAX;
        if (good) {
            rpc->names[rpc->name_count++] = name->valuestring;
        }
    }
    if (!good) {
        request_refuse(rpc, EXIT_USAGE, "\"names\": expected an array of 1 to 1024 strings");
    }
    return good;
}

/* " (did you mean …)", or "". */
static const char *request_suggest(char *text, size_t size, const char *word,
                                   const char *const *known, size_t count) {
    const char *nearest = manifest_suggest(word, known, count);
    text[0] = '\0';
    if (nearest) {
        snprintf(text, size, " (did you mean \"%s\"?)", nearest);
    }
    return text;
}

/* Reads a key other than "berth" and "verb": the verb must know it, and it must occur once and
 * have the right type. */
static bool read_key(struct rpc_request *rpc, const cJSON *item, size_t verb) {
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
                 verbs[verb].verb,
                 request_suggest(meant, sizeof(meant), item->string, keys, count));
        request_refuse(rpc, EXIT_USAGE, text);
        return false;
    }
    if (strcmp(item->string, "names") == 0) {
        return request_read_names(rpc, item);
    }
    if (!cJSON_IsBool(item)) {
        snprintf(text, sizeof(text), "\"%s\": expected true or false", item->string);
        request_refuse(rpc, EXIT_USAGE, text);
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

/* Reads all keys, before anything is done. */
static bool read_keys(struct rpc_request *rpc, size_t verb) {
    const cJSON *item;
    char text[128];
    cJSON_ArrayForEach(item, rpc->request) {
        if (is_given_twice(item)) {
            snprintf(text, sizeof(text), "\"%.64s\": given twice", item->string);
            request_refuse(rpc, EXIT_USAGE, text);
            return false;
        }
        bool head = strcmp(item->string, "berth") == 0 || strcmp(item->string, "verb") == 0;
        if (!head && !read_key(rpc, item, verb)) {
            return false;
        }
    }
    rpc->all = is_true(rpc, "all");
    if (verbs[verb].keys[1] && rpc->all == (rpc->name_count > 0)) {
        request_refuse(rpc, EXIT_USAGE, "expected either \"names\" or \"all\": true");
        return false;
    }
    return true;
}

static void request_refuse_verb(struct rpc_request *rpc, const cJSON *verb) {
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
                 request_suggest(meant, sizeof(meant), verb->valuestring, known, count));
    }
    request_refuse(rpc, EXIT_USAGE, text);
}

static void requests_send_answer(struct rpc_request *rpc) {
    const cJSON *version = cJSON_GetObjectItemCaseSensitive(rpc->request, "berth");
    const cJSON *verb = cJSON_GetObjectItemCaseSensitive(rpc->request, "verb");
    size_t at = 0;
    if (!cJSON_IsObject(rpc->request)) {
        request_refuse(rpc, EXIT_USAGE, "expected a JSON object on one line");
        return;
    }
    if (!cJSON_IsNumber(version) || version->valuedouble != REQUESTS_VERSION) {
        request_refuse(rpc, EXIT_USAGE, "\"berth\": expected 1, the version this host speaks");
        return;
    }
    while (at < ARRAY_COUNT(verbs) &&
           (!cJSON_IsString(verb) || strcmp(verbs[at].verb, verb->valuestring) != 0)) {
        at++;
    }
    if (at == ARRAY_COUNT(verbs)) {
        request_refuse_verb(rpc, verb);
    } else if (read_keys(rpc, at)) {
        if (verbs[at].changes && rpc->service->stopping) {
            request_refuse(rpc, EXIT_FAILED, "the host is stopping");
        } else {
            verbs[at].run(rpc);
        }
    }
}

/* Parses the line, which must hold nothing after the JSON text; cJSON bounds the depth. A NUL
 * ends the text too early, and so does one written as an escape: no name has any. */
static cJSON *request_parse(const char *text, size_t size) {
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

/* The answer that replaces an incomplete one. The verb may have done its work. */
static char *request_out_of_memory(void) {
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
    struct rpc_request *rpc = alloc_zeroed(sizeof(*rpc));
    cJSON *request = request_parse(text, size);
    cJSON *root = cJSON_CreateObject();
    char *printed = NULL;
    if (rpc && root) {
        rpc->service = service;
        rpc->request = request;
        rpc->result = cJSON_CreateObject();
        rpc->errors = cJSON_CreateArray();
        requests_send_answer(rpc);
        bool fine = rpc->code == EXIT_FINE;
        cJSON_AddNumberToObject(root, "berth", REQUESTS_VERSION);
        cJSON_AddBoolToObject(root, "ok", fine);
        cJSON_AddNumberToObject(root, "code", rpc->code);
        add_identity(root, service);
        json_add(root, fine ? "result" : "errors", fine ? rpc->result : rpc->errors);
        cJSON_Delete(fine ? rpc->errors : rpc->result);
        printed = json_print(root);
    }
    cJSON_Delete(root);
    cJSON_Delete(request);
    alloc_free(rpc);
    return printed ? printed : request_out_of_memory();
}

/* -- while the control thread is busy -------------------------------------- */

enum { REFUSE_BUSY_MS = 10000 }; /* the client gets an answer before it gives up by itself */

/* The members that a client of `status` and of `stop` reads. */
static void describe_busy(cJSON *result, const char *what, uint64_t busy_ms) {
    cJSON_AddNumberToObject(result, "pid", (double)os_process_id());
    cJSON_AddStringToObject(result, "version", BERTH_VERSION);
    cJSON_AddStringToObject(result, "state", "busy");
    cJSON_AddStringToObject(result, "busy_with", what);
    cJSON_AddNumberToObject(result, "busy_ms", (double)busy_ms);
}

static char *request_print_answer(const struct service *service, bool fine, cJSON *content) {
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
    return request_print_answer(service, false, errors);
}

char *requests_answer_busy(struct service *service, const char *text, size_t size,
                           uint64_t waited_ms) {
    char what[512] = "";
    uint64_t busy_ms = guard_busy_ms(&service->runtime.guard, what, sizeof(what));
    json_begin();
    cJSON *request = request_parse(text, size);
    const char *verb = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(request, "verb"));
    bool now = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(request, "now"));
    char *answer = NULL;
    if (busy_ms > 0 && verb && strcmp(verb, "stop") == 0) {
        cJSON *result = cJSON_CreateObject();
        guard_stop(&service->runtime.guard, now);
        os_signals_wake();
        cJSON_AddBoolToObject(result, "stopping", true);
        describe_busy(result, what, busy_ms);
        answer = request_print_answer(service, true, result);
    } else if (busy_ms > 0 && verb && strcmp(verb, "status") == 0) {
        cJSON *result = cJSON_CreateObject();
        describe_busy(result, what, busy_ms);
        answer = request_print_answer(service, true, result);
    } else if (busy_ms > 0 && waited_ms >= REFUSE_BUSY_MS) {
        answer = refuse_busy(service, what);
    }
    cJSON_Delete(request);
    return answer;
}
