#include "plugin/module_config.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "plugin/callback_guard.h"
#include "plugin/module.h"
#include "plugin/timed_call.h"

enum { POINTER_BYTES = 512, TEXT_BYTES = 512 };

struct finding {
    struct finding *next;
    char pointer[POINTER_BYTES];
    char text[TEXT_BYTES];
};

/* A call of `check_config`, which outlives its caller if it is abandoned. */
struct check {
    struct berth_config_errors errors; /* what the plugin gets; its address identifies the check */
    struct module *module;
    char *listener;
    char *config_json;
    struct finding *first;
    struct finding **last;
    unsigned count;
    int32_t status;
    bool no_memory;
};

/* A pointer that is none is shown as a key. */
static void BERTH_CALL add(struct berth_config_errors *errors, const char *pointer,
                           const char *text) {
    struct check *check = (struct check *)(void *)errors;
    if (check->count++ >= MODULE_CONFIG_ERRORS_MAX) {
        return;
    }
    struct finding *found = alloc_zeroed(sizeof(*found));
    if (!found) {
        check->no_memory = true;
        return;
    }
    const char *slash = pointer && pointer[0] != '\0' && pointer[0] != '/' ? "/" : "";
    snprintf(found->pointer, sizeof(found->pointer), "%s%s", slash, pointer ? pointer : "");
    snprintf(found->text, sizeof(found->text), "%s", text ? text : "it gives no reason");
    *check->last = found;
    check->last = &found->next;
}

static void check_call(void *argument) {
    struct check *check = argument;
    struct module *module = check->module;
    const struct berth_config_request request = {
        .struct_size = sizeof(request),
        .host = &module->host,
        .listener = check->listener,
        .config_json = check->config_json,
    };
    struct plugin_thread *call =
        callback_guard_begin(module->stats, NULL, NULL, PLUGIN_CHECK_CONFIG);
    check->status = module->plugin.check_config(&request, &check->errors);
    callback_guard_end(call);
}

static void check_free(struct check *check) {
    while (check && check->first) {
        struct finding *next = check->first->next;
        alloc_free(check->first);
        check->first = next;
    }
    if (check) {
        alloc_free(check->listener);
        alloc_free(check->config_json);
        alloc_free(check);
    }
}

static struct check *check_create(struct module *module, const char *listener,
                                  const char *config_json) {
    struct check *check = alloc_zeroed(sizeof(*check));
    if (!check) {
        return NULL;
    }
    check->errors = (struct berth_config_errors){.struct_size = sizeof(check->errors), .add = add};
    check->module = module;
    check->listener = alloc_string(listener);
    check->config_json = alloc_string(config_json);
    check->last = &check->first;
    if (!check->listener || !check->config_json) {
        check_free(check);
        return NULL;
    }
    return check;
}

static bool report_all(const struct check *check, module_config_report *report, void *context,
                       struct error *error) {
    char text[80];
    for (const struct finding *one = check->first; one; one = one->next) {
        report(context, one->pointer, one->text);
    }
    if (check->count > MODULE_CONFIG_ERRORS_MAX) {
        snprintf(text, sizeof(text), "%u more things are wrong",
                 check->count - MODULE_CONFIG_ERRORS_MAX);
        report(context, "", text);
    }
    if (check->status != BERTH_OK && check->count == 0) {
        return error_set(error, "plugin \"%s\" could not check the config (status %d)",
                         check->module->id, (int)check->status);
    }
    return !check->no_memory || error_set(error, "plugin \"%s\": out of memory", check->module->id);
}

bool module_check_config(struct module *module, const char *listener, const char *config_json,
                         const struct timed_call_limit *wait, module_config_report *report,
                         void *context, struct error *error) {
    char limit[64];
    if (!module->plugin.check_config) {
        return true;
    }
    struct check *check = check_create(module, listener, config_json);
    if (!check) {
        return error_set(error, "plugin \"%s\": out of memory", module->id);
    }
    enum timed_call_result end = TIMED_CALL_DONE;
    if (!wait) {
        check_call(check);
    } else {
        end = timed_call_run(check_call, check, wait, error);
    }
    if (end == TIMED_CALL_ABANDONED) { /* what it was given stays */
        module->abandoned = true;
        timed_call_describe_limit(wait, limit, sizeof(limit));
        return error_set(error,
                         "plugin \"%s\" has not returned from `check_config` %s: its library stays "
                         "mapped",
                         module->id, limit);
    }
    bool checked = end == TIMED_CALL_DONE ? report_all(check, report, context, error)
                                          : error_prefix(error, "plugin \"%s\": ", module->id);
    check_free(check);
    return checked;
}
