#include "control/host_changes.h"

#include <string.h>

#include "base/macros.h"
#include "manifest/errors.h"
#include "manifest/manifest.h"

/* These settings of the host cannot change while it runs. */
bool host_changes_check(const struct manifest *from, const struct manifest *to,
                        struct manifest_errors *errors) {
    const struct {
        const char *pointer;
        bool same;
    } parts[] = {
        {"/host/name", strcmp(from->host.name, to->host.name) == 0},
        {"/host/workers", from->host.workers == to->host.workers},
        {"/host/engine", from->host.engine == to->host.engine},
        {"/host/direct_descriptors", from->host.direct_descriptors == to->host.direct_descriptors},
        {"/host/plugins", strcmp(from->host.plugins, to->host.plugins) == 0},
        {"/host/control", from->host.control == to->host.control},
        {"/host/limits",
         memcmp(&from->host.limits, &to->host.limits, sizeof(to->host.limits)) == 0},
        {"/host/work", memcmp(&from->host.work, &to->host.work, sizeof(to->host.work)) == 0},
        {"/host/buffers",
         memcmp(&from->host.buffers, &to->host.buffers, sizeof(to->host.buffers)) == 0},
        {"/host/turn", memcmp(&from->host.turn, &to->host.turn, sizeof(to->host.turn)) == 0},
    };
    bool same = true;
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++) {
        if (!parts[i].same) {
            same = false;
            manifest_errors_add_at(errors, to->path, parts[i].pointer,
                                   "cannot change while the host runs: stop it and start it anew");
        }
    }
    return same;
}
