#include "control/config_check.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/alloc.h"
#include "base/error.h"
#include "manifest/manifest.h"
#include "manifest/schema.h"
#include "os/os.h"
#include "plugin/module.h"
#include "plugin/module_config.h"
#include "plugin/services.h"

bool config_schema(const struct module *module, struct schema **schema, struct error *error) {
    *schema = NULL;
    if (!module->plugin.config_schema_json) {
        return true;
    }
    *schema = schema_create(module->plugin.config_schema_json, error);
    return *schema || error_prefix(error, "plugin \"%s\" (%s): ", module->id, module->file);
}

struct answer {
    const struct config_question *question;
    const struct manifest_listener *listener;
    struct manifest_errors *errors;
};

static void add_answer(void *context, const char *pointer, const char *text) {
    struct answer *answer = context;
    char whole[1024];
    snprintf(whole, sizeof(whole), "/listeners/%s/config%s", answer->listener->name, pointer);
    manifest_errors_add_at(answer->errors, answer->question->manifest_path, whole, "%s", text);
}

void config_check(const struct config_question *question, const struct manifest_listener *listener,
                  struct manifest_errors *errors, struct manifest_errors *failures) {
    struct answer answer = {question, listener, errors};
    struct error error = {0};
    size_t before = errors->count;
    if (question->schema &&
        !schema_check_listener(question->schema, question->manifest_path, listener, errors)) {
        manifest_errors_add(failures, "out of memory while a config was checked");
        return;
    }
    if (errors->count > before) {
        return; /* the plugin may rely on its schema */
    }
    question->module->config_folder = question->config_folder;
    if (!module_check_config(question->module, listener->name, listener->config_json,
                             question->limit, add_answer, &answer, &error)) {
        manifest_errors_add(failures, error.message);
    }
}

/* -- a manifest that has errors -------------------------------------------- */

struct config_entry {
    struct config_entry *next;
    struct module *module; /* NULL: it cannot be opened */
    struct schema *schema;
    char id[MODULE_ID_MAX + 1];
};

/* Opens each plugin once, even if several listeners use it. */
static struct config_entry *open_entry(struct config_checker *checker,
                                       const struct manifest *manifest, const char *id) {
    struct berth_host services = services_table(manifest->host.name, BERTH_VERSION);
    const struct module_rules rules = {
        .bytes_max = manifest->host.plugin_files.bytes_max,
        .loads_untrusted = manifest->host.plugin_files.untrusted == MANIFEST_UNTRUSTED_LOAD,
    };
    struct error ignored = {0};
    struct config_entry *entry = alloc_zeroed(sizeof(*entry));
    if (!entry) {
        return NULL;
    }
    snprintf(entry->id, sizeof(entry->id), "%s", id);
    entry->module = module_open(checker->folder, id, &rules, &services, 1, &ignored);
    if (entry->module && !config_schema(entry->module, &entry->schema, &ignored)) {
        module_close(entry->module);
        entry->module = NULL;
    }
    LL_PREPEND(checker->opened, entry);
    return entry;
}

void config_checker_check(struct config_checker *checker, const struct manifest *manifest,
                          const struct manifest_listener *listener,
                          struct manifest_errors *errors) {
    struct config_entry *entry;
    LL_FOREACH(checker->opened, entry) {
        if (strcmp(entry->id, listener->plugin) == 0) {
            break;
        }
    }
    entry = entry ? entry : open_entry(checker, manifest, listener->plugin);
    if (entry && entry->module &&
        os_path_folder(checker->config_folder, sizeof(checker->config_folder), manifest->path)) {
        const struct config_question question = {.module = entry->module,
                                                 .schema = entry->schema,
                                                 .config_folder = checker->config_folder,
                                                 .manifest_path = manifest->path};
        config_check(&question, listener, errors, errors);
    }
}

void config_checker_fini(struct config_checker *checker) {
    struct config_entry *entry;
    struct config_entry *next;
    LL_FOREACH_SAFE(checker->opened, entry, next) {
        schema_destroy(entry->schema);
        module_close(entry->module);
        alloc_free(entry);
    }
    checker->opened = NULL;
}
