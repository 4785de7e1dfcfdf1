#include "control/unit_table.h"

#include <stdio.h>
#include <utlist.h>

#include "base/alloc.h"
#include "control/instance.h"
#include "net/listener.h"

#define uthash_malloc(size) alloc_zeroed(size)
#define uthash_free(memory, size) alloc_free(memory)
#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(entry) ((entry)->failed = true)
#include <uthash.h>

struct unit_name {
    struct unit_names names;
    bool failed; /* uthash had no memory for it */
    UT_hash_handle hh;
    char name[]; /* the manifest that has it may go */
};

struct unit_door {
    const struct door *door;
    struct unit *unit;
    bool failed;
    UT_hash_handle hh;
};

static struct unit_names *get(struct unit_table *table, const char *name) {
    struct unit_name *one = NULL;
    HASH_FIND_STR(table->names, name, one);
    if (one) {
        return &one->names;
    }
    size_t size = strlen(name) + 1;
    one = alloc_zeroed(sizeof(*one) + size);
    if (!one) {
        return NULL;
    }
    memcpy(one->name, name, size);
    HASH_ADD_STR(table->names, name, one);
    if (one->failed) {
        alloc_free(one);
        return NULL;
    }
    return &one->names;
}

static bool add_doors(struct unit_table *table, struct unit *unit) {
    for (size_t i = 0; i < unit->listener->door_count; i++) {
        struct unit_door *one = alloc_zeroed(sizeof(*one));
        if (!one) {
            return false;
        }
        one->door = unit->listener->doors[i];
        one->unit = unit;
        HASH_ADD_PTR(table->doors, door, one);
        if (one->failed) {
            alloc_free(one);
            return false;
        }
    }
    return true;
}

bool unit_table_init(struct unit_table *table, const struct instance *instance) {
    struct unit *unit;
    *table = (struct unit_table){0};
    DL_FOREACH(instance->serving, unit) {
        struct unit_names *names = get(table, unit->from->name);
        if (!names || !add_doors(table, unit)) {
            return false;
        }
        names->serving = unit;
    }
    DL_FOREACH(instance->retired, unit) {
        struct unit_names *names = get(table, unit->from->name);
        if (!names) {
            return false;
        }
        names->past++;
        names->oldest = names->oldest ? names->oldest : unit;
    }
    return true;
}

void unit_table_fini(struct unit_table *table) {
    struct unit_name *name;
    struct unit_name *next_name;
    struct unit_door *door;
    struct unit_door *next_door;
    HASH_ITER(hh, table->names, name, next_name) {
        HASH_DEL(table->names, name);
        alloc_free(name);
    }
    HASH_ITER(hh, table->doors, door, next_door) {
        HASH_DEL(table->doors, door);
        alloc_free(door);
    }
    *table = (struct unit_table){0};
}

struct unit_names *unit_table_find(const struct unit_table *table, const char *name) {
    struct unit_name *found = NULL;
    HASH_FIND_STR(table->names, name, found);
    return found ? &found->names : NULL;
}

struct unit *unit_table_at(const struct unit_table *table, const struct door *door) {
    struct unit_door *found = NULL;
    HASH_FIND_PTR(table->doors, &door, found);
    return found ? found->unit : NULL;
}
