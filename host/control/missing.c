#include "control/missing.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "manifest/manifest.h"
#include "os/os.h"

void missing_init(struct missing *missing, const char *folder) {
    *missing = (struct missing){0};
    snprintf(missing->folder, sizeof(missing->folder), "%s", folder);
}

void missing_fini(struct missing *missing) {
    alloc_free(missing->ids);
    module_list_fini(&missing->list);
    *missing = (struct missing){0};
}

bool missing_is(const struct missing *missing, const char *id) {
    return !module_files_exist(missing->folder, id);
}

static bool read_folder(struct missing *missing) {
    if (missing->ids || missing->unreadable) {
        return missing->ids != NULL;
    }
    missing->unreadable = true;
    if (!module_list_init(&missing->list, missing->folder, NULL)) {
        return false;
    }
    missing->ids = alloc_array(missing->list.count + 1, sizeof(*missing->ids));
    for (size_t i = 0; missing->ids && i < missing->list.count; i++) {
        missing->ids[i] = missing->list.items[i].id;
    }
    return missing->ids != NULL;
}

void missing_suggest(struct missing *missing, const char *id, char *text, size_t size) {
    text[0] = '\0';
    if (read_folder(missing)) {
        const char *nearest = manifest_suggest(id, missing->ids, missing->list.count);
        if (nearest && strcmp(nearest, id) != 0) {
            snprintf(text, size, " (did you mean \"%s\"?)", nearest);
        }
    }
}
