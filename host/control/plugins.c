/* The verb `plugins`: lists the plugins folder. */
#include <stdio.h>

#include "base/error.h"
#include "base/text.h"
#include "control/config_check.h"
#include "control/control.h"
#include "control/paths.h"
#include "manifest/schema.h"
#include "os/os.h"
#include "plugin/module.h"
#include "plugin/services.h"

/* Prints one line, before and after the library is opened, so that a plugin that crashes the
 * process is the last one named. */
static void plugins_describe(const char *folder, const char *id) {
    struct error error = {0};
    struct berth_host services = services_table("berth", BERTH_VERSION);
    char name[6 * MODULE_ID_MAX];
    printf("%-24s ", text_safe(name, sizeof(name), id));
    fflush(stdout);
    static const struct module_rules rules = {.bytes_max = MODULE_FILE_BYTES_MAX};
    struct schema *schema = NULL;
    struct module *module = module_open(folder, id, &rules, &services, 1, &error);
    if (!module || !config_schema(module, &schema, &error)) {
        fputs("not loadable: ", stdout);
        text_print(stdout, error.message);
        putchar('\n');
        module_close(module);
        return;
    }
    schema_destroy(schema);
    const struct berth_plugin *plugin = &module->plugin;
    char version[64];
    printf("%-10s ABI %u.%u, requires %u.%u  loadable%s\n",
           text_safe(version, sizeof(version), plugin->version), plugin->abi_major,
           plugin->abi_minor_built, plugin->abi_major, plugin->abi_minor_required,
           (plugin->flags & BERTH_PLUGIN_SPEAKS_FIRST) != 0 ? ", speaks first" : "");
    fflush(stdout);
    module_close(module);
}

int control_plugins(const struct command *options) {
    bool meant = options->name || options->manifest || options->json;
    if (meant && options->plugins) {
        fprintf(stderr, "berth: --plugins is a folder's, the other options are a host's\n");
        return EXIT_USAGE;
    }
    if (meant || (!options->plugins && control_is_running())) {
        return control_ask(options);
    }
    char folder[OS_PATH_MAX];
    struct error error = {0};
    struct module_list list;
    if (!paths_plugins(folder, sizeof(folder), options->plugins, "plugins", &error) ||
        !module_list_init(&list, folder, &error)) {
        fputs("berth: ", stderr);
        text_print(stderr, error.message);
        fputc('\n', stderr);
        return EXIT_FAILED;
    }
    printf("%zu plugins in ", list.count);
    text_print(stdout, folder);
    putchar('\n');
    for (size_t i = 0; i < list.count; i++) {
        plugins_describe(folder, list.items[i].id);
    }
    module_list_fini(&list);
    return EXIT_FINE;
}
