/* listener_generation_table.h: the generations of the listeners of a runtime, looked up by the
 * listener's name.
 *
 * It is made for a moment, in which neither the runtime's lists nor names change. Owner: who makes
 * it. Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_LISTENER_GENERATION_TABLE_H
#define BERTH_HOST_CONTROL_LISTENER_GENERATION_TABLE_H

#include <stdbool.h>
#include <stddef.h>

struct listen_socket;
struct runtime;
struct listener_generation;

/* All generations of one listener. */
struct listener_generations {
    struct listener_generation *serving; /* NULL: none does */
    unsigned past;                       /* those that drain */
    const struct listener_generation *oldest;
    const void *note; /* the caller's: of the one that serves */
};

struct listener_generation_table {
    struct listener_generations_entry *names;          /* uthash */
    struct listener_generation_socket *listen_sockets; /* uthash: of those that serve */
};

/* False: no memory. Finish it all the same. */
bool listener_generation_table_init(struct listener_generation_table *table,
                                    const struct runtime *runtime);
void listener_generation_table_fini(struct listener_generation_table *table);

/* NULL: there is no such listener. */
struct listener_generations *
listener_generation_table_find(const struct listener_generation_table *table, const char *name);

/* The one that serves at that listen socket; NULL: it is nobody's of them. */
struct listener_generation *
listener_generation_table_at(const struct listener_generation_table *table,
                             const struct listen_socket *listen_socket);

#endif
