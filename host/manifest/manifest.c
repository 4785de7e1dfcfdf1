#include "manifest/manifest.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "manifest/errors.h"
#include "manifest/json.h"
#include "manifest/json_locations.h"
#include "manifest/options.h"
#include "os/os.h"

static const struct json_location beginning = {1, 1};

static void manifest_on_syntax(void *context, struct json_location location, const char *pointer,
                               const char *message) {
    errors_addf(context, location, pointer, "%s", message);
}

/* Without memory for the error either, the list stays empty: callers take NULL as enough. */
static void manifest_out_of_memory(struct manifest_errors *errors) {
    manifest_errors_fini(errors);
    errors_addf(errors, beginning, "", "out of memory");
}

bool manifest_json_check(const char *text, struct error *error) {
    enum { NEAR_BYTES = 10 };
    const char *end = NULL;
    cJSON *tree = cJSON_ParseWithLengthOpts(text, strlen(text) + 1, &end, true);
    bool is_object = cJSON_IsObject(tree);
    bool is_json = tree != NULL;
    cJSON_Delete(tree);
    const char *location = end && end > text + NEAR_BYTES ? end - NEAR_BYTES : text;
    return is_object || (is_json ? error_set(error, "it is not a JSON object")
                                 : error_set(error, "it is not JSON, near \"%.30s\"", location));
}

/* NOLINTNEXTLINE(misc-no-recursion): cJSON has a limit of its own */
static bool change_strings(cJSON *item, manifest_string_fn *change, void *context,
                           struct error *error) {
    char other[OS_PATH_MAX] = "";
    if (cJSON_IsString(item) && !change(context, item->valuestring, other, sizeof(other))) {
        return false;
    }
    if (other[0] && !cJSON_SetValuestring(item, other)) {
        return error_set(error, "out of memory");
    }
    cJSON *child;
    cJSON_ArrayForEach(child, item) {
        if (!change_strings(child, change, context, error)) {
            return false;
        }
    }
    return true;
}

char *manifest_json_change(const char *text, manifest_string_fn *change, void *context,
                           struct error *error) {
    cJSON *tree = json_parse(text, strlen(text));
    char *printed = NULL;
    bool good =
        tree ? change_strings(tree, change, context, error) : error_set(error, "out of memory");
    if (good) {
        printed = json_print(tree);
        if (!printed) {
            error_set(error, "out of memory");
        }
    }
    cJSON_Delete(tree);
    return printed;
}

static int pointers_compare(const void *left, const void *right) {
    return strcmp(*(char *const *)left, *(char *const *)right);
}

/* The pointers of the errors so far, in order. NULL: no memory. */
static char **pointers_sorted(const struct manifest_errors *errors) {
    char **pointers = alloc_array(errors->count, sizeof(*pointers));
    for (size_t i = 0; pointers && i < errors->count; i++) {
        pointers[i] = errors->items[i].pointer;
    }
    if (pointers) {
        qsort(pointers, errors->count, sizeof(*pointers), pointers_compare);
    }
    return pointers;
}

/* Whether the config was no object: what stands in its place says nothing then. */
static bool has_bad_config(char *const *pointers, size_t count,
                           const struct manifest_listener *listener) {
    char pointer[CHECK_POINTER_MAX];
    char parent[CHECK_POINTER_MAX];
    const char *key = pointer;
    check_pointer(parent, "/listeners", listener->name);
    check_pointer(pointer, parent, "config");
    return !listener->config_json ||
           bsearch(&key, pointers, count, sizeof(*pointers), pointers_compare) != NULL;
}

/* Only when something is wrong: else the plugins are asked when they are opened. */
static void look_at_plugins(struct checker *checker, const struct manifest_look *look) {
    const struct manifest *manifest = checker->manifest;
    size_t count = checker->errors->count;
    char **pointers = pointers_sorted(checker->errors);
    checker->failed |= !pointers;
    for (size_t i = 0; i < manifest->listener_count && pointers; i++) {
        const struct manifest_listener *one = &manifest->listeners[i];
        char pointer[CHECK_POINTER_MAX];
        char listener[CHECK_POINTER_MAX];
        char text[ERROR_MESSAGE_MAX];
        if (!one->name || !one->plugin) {
            continue;
        }
        if (look->explain(look->context, manifest, one->plugin, text, sizeof(text))) {
            check_pointer(listener, "/listeners", one->name);
            check_pointer(pointer, listener, "plugin");
            check_error(checker, pointer, "%s", text);
        } else if (!has_bad_config(pointers, count, one)) {
            look->check_config(look->context, manifest, one, checker->errors);
        }
    }
    alloc_free(pointers);
}

static struct manifest *check_tree(const cJSON *root, const struct json_locations *locations,
                                   const char *path, const struct manifest_look *look,
                                   struct manifest_errors *errors) {
    struct manifest *manifest = alloc_zeroed(sizeof(*manifest));
    struct checker checker = {.locations = locations, .errors = errors, .manifest = manifest};
    if (!manifest) {
        manifest_out_of_memory(errors);
        return NULL;
    }
    manifest->path = alloc_string(path);
    checker.failed = !options_set_defaults(options_host, manifest) || !manifest->path;
    check_object(&checker, (struct checked){root, ""}, options_document, manifest);
    options_check_together(&checker);
    if (look && errors->count > 0 && !checker.failed) {
        look_at_plugins(&checker, look);
    }
    if (checker.failed) {
        manifest_out_of_memory(errors);
    }
    if (checker.failed || errors->count > 0) {
        manifest_destroy(manifest);
        return NULL;
    }
    return manifest;
}

static bool manifest_check_size(size_t size, struct manifest_errors *errors) {
    if (size > MANIFEST_BYTES_MAX) {
        errors_addf(errors, beginning, "", "the file has more than %zu bytes", MANIFEST_BYTES_MAX);
        return false;
    }
    return true;
}

static struct manifest *parse_with(const char *path, const char *text, size_t size,
                                   const struct manifest_look *look,
                                   struct manifest_errors *errors) {
    struct json_locations locations = {0};
    struct manifest *manifest = NULL;
    *errors = (struct manifest_errors){0};
    if (!manifest_check_size(size, errors)) {
        return NULL;
    }
    json_skip_mark(&text, &size);
    if (json_locations_init(&locations, text, size, MANIFEST_DEPTH_MAX, manifest_on_syntax,
                            errors)) {
        cJSON *root = json_parse(text, size);
        if (root) {
            manifest = check_tree(root, &locations, path, look, errors);
            cJSON_Delete(root);
        } else {
            manifest_out_of_memory(errors); /* the syntax is right: only memory can be the cause */
        }
    } else if (locations.failed) {
        manifest_out_of_memory(errors);
    }
    if (errors->lost) { /* there is an error, and no memory to report it */
        manifest_destroy(manifest);
        manifest = NULL;
        manifest_out_of_memory(errors);
    }
    json_locations_fini(&locations);
    errors_sort(errors);
    return manifest;
}

struct manifest *manifest_parse(const char *path, const char *text, size_t size,
                                struct manifest_errors *errors) {
    return parse_with(path, text, size, NULL, errors);
}

struct manifest *manifest_load(const char *path, struct manifest_errors *errors) {
    return manifest_load_with(path, NULL, errors);
}

struct manifest *manifest_load_with(const char *path, const struct manifest_look *look,
                                    struct manifest_errors *errors) {
    struct error error = {0};
    char *text;
    size_t size;
    *errors = (struct manifest_errors){0};
    if (!os_file_read(path, MANIFEST_BYTES_MAX, &text, &size, &error)) {
        errors_addf(errors, beginning, "", "the file cannot be read: %s", error.message);
        return NULL;
    }
    struct manifest *manifest = parse_with(path, text, size, look, errors);
    if (manifest) {
        manifest->text = text;
        manifest->text_size = size;
    } else {
        alloc_free(text);
    }
    return manifest;
}

void manifest_destroy(struct manifest *manifest) {
    if (!manifest) {
        return;
    }
    for (size_t i = 0; i < manifest->listener_count; i++) {
        options_free_listener(&manifest->listeners[i]);
    }
    alloc_free(manifest->listeners);
    options_free(options_host, manifest);
    alloc_free(manifest->path);
    alloc_free(manifest->text);
    alloc_free(manifest);
}

static void ignore_syntax(void *context, struct json_location location, const char *pointer,
                          const char *message) {
    (void)context;
    (void)location;
    (void)pointer;
    (void)message;
}

/* The locations in the file as it is now; NULL: it cannot be read, or there is no memory. */
static const struct json_locations *look_up(struct manifest_errors *errors, const char *path) {
    struct looked_up *known = errors->looked_up;
    char *text;
    size_t size;
    if (known) {
        return known->path && strcmp(known->path, path) == 0 ? &known->locations : NULL;
    }
    errors->looked_up = known = alloc_zeroed(sizeof(*known));
    if (!known || !os_file_read(path, MANIFEST_BYTES_MAX, &text, &size, NULL)) {
        return NULL;
    }
    const char *from = text;
    json_skip_mark(&from, &size);
    if (json_locations_init(&known->locations, from, size, MANIFEST_DEPTH_MAX, ignore_syntax,
                            NULL)) {
        known->path = alloc_string(path);
    }
    alloc_free(text);
    return known->path ? &known->locations : NULL;
}

bool manifest_errors_add(struct manifest_errors *errors, const char *message) {
    return errors_addf(errors, (struct json_location){0, 0}, "", "%s", message);
}

bool manifest_errors_add_at(struct manifest_errors *errors, const char *path, const char *pointer,
                            const char *format, ...) {
    const struct json_locations *locations = look_up(errors, path);
    struct json_location location =
        locations ? json_locations_value(locations, pointer) : beginning;
    va_list arguments;
    va_start(arguments, format);
    bool added = errors_add(errors, location, pointer, format, arguments);
    va_end(arguments);
    return added;
}

bool manifest_errors_add_at_key(struct manifest_errors *errors, const char *path,
                                const char *pointer, const char *format, ...) {
    const struct json_locations *locations = look_up(errors, path);
    struct json_location location = locations ? json_locations_key(locations, pointer) : beginning;
    va_list arguments;
    va_start(arguments, format);
    bool added = errors_add(errors, location, pointer, format, arguments);
    va_end(arguments);
    return added;
}
