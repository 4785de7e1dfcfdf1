/* effective.c: every option with the value in force, as lines. */
#include <cjson/cJSON.h>

#include "manifest/json.h"
#include "manifest/option_kinds.h"
#include "manifest/options.h"

struct listing {
    manifest_effective_fn *option;
    void *context;
};

static void list_option(const struct listing *listing, const char *pointer,
                        const struct field *field, const cJSON *given, const void *target) {
    const struct option_kind *kind = &option_kinds[field->kind];
    cJSON *shown = kind->show ? kind->show(field, target) : NULL;
    const cJSON *value = kind->show ? shown : given;
    char *text = value ? cJSON_PrintUnformatted(value) : NULL;
    listing->option(listing->context, pointer, text ? text : "none", given != NULL);
    cJSON_free(text);
    cJSON_Delete(shown);
}

/* `given` is the object as the manifest has it, or NULL. */
static void list_object(const struct listing *listing, const char *pointer,
                        const struct field *fields, const cJSON *given, const void *target) {
    char below[CHECK_POINTER_MAX];
    for (const struct field *field = fields; field->key; field++) {
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(given, field->key);
        if (cJSON_IsNumber(given) && field == fields) {
            item = given; /* a rate that is written as a number */
        }
        check_pointer(below, pointer, field->key);
        if (field->fields) {
            list_object(listing, below, field->fields, item, target);
        } else {
            list_option(listing, below, field, item, target);
        }
    }
}

bool manifest_list_effective(const struct manifest *manifest, manifest_effective_fn *option,
                             void *context) {
    const struct listing listing = {option, context};
    char pointer[CHECK_POINTER_MAX];
    cJSON *root = json_parse(manifest->text, manifest->text_size);
    const cJSON *listeners = cJSON_GetObjectItemCaseSensitive(root, "listeners");
    if (!root) {
        return false;
    }
    list_object(&listing, "/host", options_host, cJSON_GetObjectItemCaseSensitive(root, "host"),
                manifest);
    for (size_t i = 0; i < manifest->listener_count; i++) {
        const struct manifest_listener *one = &manifest->listeners[i];
        check_pointer(pointer, "/listeners", one->name);
        list_object(&listing, pointer, options_listener,
                    cJSON_GetObjectItemCaseSensitive(listeners, one->name), one);
    }
    cJSON_Delete(root);
    return true;
}
