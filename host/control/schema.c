/* The verb `schema`: prints one JSON Schema of the whole manifest, including the parts of
 * plugins, for editors. */
#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/text.h"
#include "control/config_check.h"
#include "control/control.h"
#include "control/paths.h"
#include "manifest/schema.h"
#include "os/os.h"
#include "plugin/module.h"
#include "plugin/services.h"

struct parts {
    const char *folder;
    struct schema_part *items;
    size_t count;
};

/* Copies what is needed from the plugin, which is then closed. */
static bool add_part(struct parts *parts, const char *id, struct error *error) {
    static const struct module_rules rules = {.bytes_max = MODULE_FILE_BYTES_MAX};
    struct berth_host services = services_table("berth", BERTH_VERSION);
    struct schema_part *part = &parts->items[parts->count];
    struct schema *schema = NULL;
    struct module *module = module_open(parts->folder, id, &rules, &services, 1, error);
    bool good = module && config_schema(module, &schema, error);
    if (good) {
        const char *json = module->plugin.config_schema_json;
        *part = (struct schema_part){alloc_string(id), json ? alloc_string(json) : NULL};
        parts->count++;
        good = (part->plugin && (!json || part->json)) || error_set(error, "out of memory");
    }
    schema_destroy(schema);
    module_close(module);
    return good;
}

static int print_whole(const struct parts *parts) {
    char *text = schema_of_manifest(parts->items, parts->count);
    if (!text) {
        text_print_error("out of memory");
        return EXIT_FAILED;
    }
    puts(text);
    alloc_free(text);
    return EXIT_FINE;
}

static void free_parts(struct parts *parts) {
    for (size_t i = 0; i < parts->count; i++) {
        alloc_free((void *)parts->items[i].plugin);
        alloc_free((void *)parts->items[i].json);
    }
    alloc_free(parts->items);
}

/* Plugins that are named must exist. */
static int print_named(struct parts *parts, const struct command *options) {
    struct error error = {0};
    int code = EXIT_FINE;
    for (size_t i = 0; i < options->word_count; i++) {
        if (!add_part(parts, options->words[i], &error)) {
            text_print_error(error.message);
            code = EXIT_FAILED;
        }
    }
    return code == EXIT_FINE ? print_whole(parts) : code;
}

/* A plugin that cannot be loaded is reported and left out. */
static int print_all(struct parts *parts, const struct module_list *list) {
    struct error error = {0};
    for (size_t i = 0; i < list->count; i++) {
        if (!add_part(parts, list->items[i].id, &error)) {
            text_print_error(error.message);
        }
    }
    return print_whole(parts);
}

int control_schema(const struct command *options) {
    char folder[OS_PATH_MAX];
    struct error error = {0};
    struct module_list list = {0};
    struct parts parts = {.folder = folder};
    if (!paths_plugins(folder, sizeof(folder), options->plugins, "plugins", &error) ||
        (options->word_count == 0 && !module_list_init(&list, folder, &error))) {
        text_print_error(error.message);
        return EXIT_FAILED;
    }
    size_t count = options->word_count + list.count;
    parts.items = alloc_array(count > 0 ? count : 1, sizeof(*parts.items));
    int code = EXIT_FAILED;
    if (!parts.items) {
        text_print_error("out of memory");
    } else if (options->word_count > 0) {
        code = print_named(&parts, options);
    } else {
        code = print_all(&parts, &list);
    }
    free_parts(&parts);
    module_list_fini(&list);
    return code;
}
