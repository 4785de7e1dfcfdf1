#include "control/plugin_open.h"

#include "base/error.h"
#include "base/log.h"
#include "control/last_good_config.h"
#include "control/paths.h"
#include "control/runtime.h"
#include "control/supervise.h"
#include "manifest/manifest.h"
#include "plugin/module.h"

/* Opens the copy that ran before the crash. NULL: there is none. */
static struct module *open_kept(const struct runtime *runtime, const char *id, unsigned generation,
                                const struct module_rules *all_rules) {
    struct log_subject subject = {.plugin = id};
    struct error ignored = {0};
    struct module_rules rules = *all_rules;
    rules.tried = false; /* it has served */
    struct module *module = module_open(runtime->last_good_folder, id, &rules, &runtime->services,
                                        generation, &ignored);
    if (module && !module_move(module, runtime->plugins_folder, &ignored)) {
        module_close(module);
        return NULL;
    }
    if (module && !module_is_current(module)) {
        log_warn(&subject,
                 "the copy that ran before the crash is used, and not %s: see to that file, then "
                 "\"berth restart %s\"",
                 module->file, id);
    }
    return module;
}

/* Whether another host has served before, which this one replaces after its crash. */
static bool has_served_before(const struct runtime *runtime) {
    return supervisor_client_is_restart(runtime->supervised) &&
           (!runtime->last_good_folder || last_good_config_exists(runtime->last_good_folder));
}

/* While a host serves, a library is probed before it is loaded. A host that replaces a crashed
 * one probes only what has changed since then; without a successful probe it has to use what
 * that one had. */
struct module *plugin_open(const struct runtime *runtime, const struct manifest *manifest,
                           const char *id, unsigned generation, struct error *error) {
    bool starts = !runtime->config_snapshot;
    char copies[OS_PATH_MAX];
    struct module_rules rules = {
        .bytes_max = manifest->host.plugin_files.bytes_max,
        .loads_untrusted = manifest->host.plugin_files.untrusted == MANIFEST_UNTRUSTED_LOAD,
        .tried = !starts || has_served_before(runtime),
        .served = starts ? runtime->last_good_folder : NULL,
    };
    if (!paths_copies(copies, sizeof(copies), manifest->host.plugin_files.copies, &rules.copies,
                      error)) {
        return NULL;
    }
    struct module *module = NULL;
    if (starts && runtime->use_last_good && runtime->last_good_folder) {
        module = open_kept(runtime, id, generation, &rules);
    }
    return module ? module
                  : module_open(runtime->plugins_folder, id, &rules, &runtime->services, generation,
                                error);
}
