#include "control/listener_generation_table.h"

#include <stdio.h>
#include <utlist.h>

#include "base/alloc.h"
#include "control/runtime.h"
#include "net/listen/listener.h"

#define uthash_malloc(size) alloc_zeroed(size)
#define uthash_free(memory, size) alloc_free(memory)
#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(entry) ((entry)->failed = true)
#include <uthash.h>

struct listener_generations_entry {
    struct listener_generations names;
    bool failed; /* uthash had no memory for it */
    UT_hash_handle hh;
    char name[]; /* a copy: the manifest that has it may be freed */
};

struct listener_generation_socket {
    const struct listen_socket *listen_socket;
    struct listener_generation *generation;
    bool failed;
    UT_hash_handle hh;
};

static struct listener_generations *generation_table_get(struct listener_generation_table *table,
                                                         const char *name) {
    struct listener_generations_entry *one = NULL;
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

static bool generation_table_add_listen_sockets(struct listener_generation_table *table,
                                                struct listener_generation *generation) {
    for (size_t i = 0; i < generation->listener->listen_socket_count; i++) {
        struct listener_generation_socket *one = alloc_zeroed(sizeof(*one));
        if (!one) {
            return false;
        }
        one->listen_socket = generation->listener->listen_sockets[i];
        one->generation = generation;
        HASH_ADD_PTR(table->listen_sockets, listen_socket, one);
        if (one->failed) {
            alloc_free(one);
            return false;
        }
    }
    return true;
}

bool listener_generation_table_init(struct listener_generation_table *table,
                                    const struct runtime *runtime) {
    struct listener_generation *generation;
    *table = (struct listener_generation_table){0};
    DL_FOREACH(runtime->serving, generation) {
        struct listener_generations *names = generation_table_get(table, generation->from->name);
        if (!names || !generation_table_add_listen_sockets(table, generation)) {
            return false;
        }
        names->serving = generation;
    }
    DL_FOREACH(runtime->retired, generation) {
        struct listener_generations *names = generation_table_get(table, generation->from->name);
        if (!names) {
            return false;
        }
        names->past++;
        names->oldest = names->oldest ? names->oldest : generation;
    }
    return true;
}

void listener_generation_table_fini(struct listener_generation_table *table) {
    struct listener_generations_entry *name;
    struct listener_generations_entry *next_name;
    struct listener_generation_socket *listen_socket;
    struct listener_generation_socket *next_listen_socket;
    HASH_ITER(hh, table->names, name, next_name) {
        HASH_DEL(table->names, name);
        alloc_free(name);
    }
    HASH_ITER(hh, table->listen_sockets, listen_socket, next_listen_socket) {
        HASH_DEL(table->listen_sockets, listen_socket);
        alloc_free(listen_socket);
    }
    *table = (struct listener_generation_table){0};
}

struct listener_generations *
listener_generation_table_find(const struct listener_generation_table *table, const char *name) {
    struct listener_generations_entry *found = NULL;
    HASH_FIND_STR(table->names, name, found);
    return found ? &found->names : NULL;
}

struct listener_generation *
listener_generation_table_at(const struct listener_generation_table *table,
                             const struct listen_socket *listen_socket) {
    struct listener_generation_socket *found = NULL;
    HASH_FIND_PTR(table->listen_sockets, &listen_socket, found);
    return found ? found->generation : NULL;
}
