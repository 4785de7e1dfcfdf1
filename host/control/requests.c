#include "control/requests.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "control/control.h"
#include "control/service.h"
#include "control/status.h"
#include "net/listener.h"

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
    cJSON_AddItemToArray(asked->errors, cJSON_CreateString(text));
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
        cJSON_AddItemToArray(asked->errors, cJSON_CreateString(text));
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
    if (code == EXIT_FINE) {
        cJSON_AddNumberToObject(asked->result, "added", counts->added);
        cJSON_AddNumberToObject(asked->result, "removed", counts->removed);
        cJSON_AddNumberToObject(asked->result, "replaced", counts->replaced);
        cJSON_AddNumberToObject(asked->result, "configured", counts->configured);
        cJSON_AddNumberToObject(asked->result, "kept", counts->kept);
        cJSON_AddBoolToObject(asked->result, "dry_run", is_true(asked, "dry_run"));
    } else {
        log_error(NULL, "a %s was asked for and failed: all goes on as before (%s)",
                  cJSON_GetObjectItemCaseSensitive(asked->request, "verb")->valuestring,
                  cJSON_GetArraySize(asked->errors) > 0
                      ? cJSON_GetArrayItem(asked->errors, 0)->valuestring
                      : "no reason");
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

static bool is_meant(const struct asked *asked, const struct unit *unit, const char *name) {
    (void)asked;
    return strcmp(unit->from->name, name) == 0 || strcmp(unit->from->plugin, name) == 0;
}

/* Every name must be that of something before anything is done. */
static bool check_names(struct asked *asked) {
    bool known = true;
    for (size_t i = 0; i < asked->name_count; i++) {
        const struct unit *unit;
        bool found = false;
        for (unit = asked->service->instance.serving; unit && !found; unit = unit->next) {
            found = is_meant(asked, unit, asked->names[i]);
        }
        if (!found) {
            char text[512];
            change_explain_name(asked->service->instance.edition->manifest, asked->names[i], text,
                                sizeof(text));
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
            meant = is_meant(asked, unit, asked->names[i]);
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

static void do_status(struct asked *asked) {
    status_describe(asked->service, asked->result);
}

static void do_stop(struct asked *asked) {
    asked->service->stop_wanted = true;
    asked->service->stop_now = asked->service->stop_now || is_true(asked, "now");
    cJSON_AddBoolToObject(asked->result, "stopping", true);
    cJSON_AddNumberToObject(asked->result, "connections",
                            instance_connections(&asked->service->instance));
    log_info(NULL, "asked to stop%s", is_true(asked, "now") ? " now" : "");
}

/* -- requests ------------------------------------------------------------------------------------
 */

static const struct {
    const char *verb;
    void (*run)(struct asked *asked);
    bool takes_names;
    bool changes; /* not while the host stops */
} verbs[] = {
    {"status", do_status, false, false}, {"stop", do_stop, false, false},
    {"pause", do_pause, true, true},     {"resume", do_resume, true, true},
    {"restart", do_restart, true, true}, {"reload", do_reload, false, true},
    {"release", do_release, true, true},
};

static bool read_names(struct asked *asked) {
    const cJSON *names = cJSON_GetObjectItemCaseSensitive(asked->request, "names");
    const cJSON *name;
    asked->all = is_true(asked, "all");
    cJSON_ArrayForEach(name, names) {
        if (!cJSON_IsString(name) || asked->name_count == REQUEST_NAMES_MAX) {
            refuse(asked, EXIT_USAGE, "\"names\": expected an array of 1 to 1024 strings");
            return false;
        }
        asked->names[asked->name_count++] = name->valuestring;
    }
    if (asked->all == (asked->name_count > 0)) {
        refuse(asked, EXIT_USAGE, "expected either \"names\" or \"all\": true");
        return false;
    }
    return true;
}

static void answer(struct asked *asked) {
    const cJSON *version = cJSON_GetObjectItemCaseSensitive(asked->request, "berth");
    const cJSON *verb = cJSON_GetObjectItemCaseSensitive(asked->request, "verb");
    if (!cJSON_IsObject(asked->request)) {
        refuse(asked, EXIT_USAGE, "expected a JSON object on one line");
        return;
    }
    if (!cJSON_IsNumber(version) || version->valuedouble != REQUESTS_VERSION) {
        refuse(asked, EXIT_USAGE, "\"berth\": expected 1, the version this host speaks");
        return;
    }
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (!cJSON_IsString(verb) || strcmp(verbs[i].verb, verb->valuestring) != 0) {
            continue;
        }
        if (verbs[i].changes && asked->service->stopping) {
            refuse(asked, EXIT_FAILED, "the host is stopping");
        } else if (!verbs[i].takes_names || read_names(asked)) {
            verbs[i].run(asked);
        }
        return;
    }
    refuse(asked, EXIT_USAGE,
           "\"verb\": expected \"status\", \"pause\", \"resume\", \"restart\", \"reload\", "
           "\"release\" or \"stop\"");
}

/* Nothing deeper is asked for, and cJSON would follow any depth. */
static bool is_shallow(const char *text) {
    int depth = 0;
    for (; *text != '\0'; text++) {
        depth += *text == '[' || *text == '{';
        if (depth > 16) {
            return false;
        }
    }
    return true;
}

char *requests_answer(struct service *service, const char *text) {
    struct asked *asked = alloc_zeroed(sizeof(*asked));
    cJSON *request = is_shallow(text) ? cJSON_Parse(text) : NULL;
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
        cJSON_AddItemToObject(root, fine ? "result" : "errors",
                              fine ? asked->result : asked->errors);
        cJSON_Delete(fine ? asked->errors : asked->result);
        printed = cJSON_PrintUnformatted(root);
    }
    cJSON_Delete(root);
    cJSON_Delete(request);
    alloc_free(asked);
    return printed;
}
