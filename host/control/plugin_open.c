#include "control/plugin_open.h"

#include "base/error.h"
#include "base/log.h"
#include "control/instance.h"
#include "control/kept.h"
#include "control/paths.h"
#include "control/supervise.h"
#include "manifest/manifest.h"
#include "module/module.h"

/* The copy that ran before the crash. NULL: there is none. */
static struct module *open_kept(const struct instance *instance, const char *id,
                                unsigned generation, const struct module_rules *all_rules) {
    struct log_subject subject = {.plugin = id};
    struct error ignored = {0};
    struct module_rules rules = *all_rules;
    rules.tried = false; /* it has served */
    struct module *module =
        module_open(instance->kept_folder, id, &rules, &instance->services, generation, &ignored);
    if (module && !module_move(module, instance->plugins_folder, &ignored)) {
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

/* Another host, whose place this one takes. */
static bool has_served_before(const struct instance *instance) {
    return supervised_is_restart(instance->supervised) &&
           (!instance->kept_folder || kept_is_there(instance->kept_folder));
}

/* While a host serves, what is loaded is tried first. A host that takes the place of one that has
 * crashed tries what has changed since then; or it has to do with what that one had. */
struct module *plugin_open(const struct instance *instance, const struct manifest *manifest,
                           const char *id, unsigned generation, struct error *error) {
    bool starts = !instance->edition;
    char copies[OS_PATH_MAX];
    struct module_rules rules = {
        .bytes_max = manifest->host.plugin_files.bytes_max,
        .loads_untrusted = manifest->host.plugin_files.untrusted == MANIFEST_UNTRUSTED_LOAD,
        .tried = !starts || has_served_before(instance),
        .served = starts ? instance->kept_folder : NULL,
    };
    if (!paths_copies(copies, sizeof(copies), manifest->host.plugin_files.copies, &rules.copies,
                      error)) {
        return NULL;
    }
    struct module *module = NULL;
    if (starts && instance->use_kept && instance->kept_folder) {
        module = open_kept(instance, id, generation, &rules);
    }
    return module ? module
                  : module_open(instance->plugins_folder, id, &rules, &instance->services,
                                generation, error);
}
