/* listener_generation_table.h: the generations of the listeners of a runtime, looked up by the
 * listener's name.
 *
 * The table is short-lived: the runtime's lists and names must not change while it exists.
 * Owner: the code that creates it. Threads: [control]. */
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
    unsigned past;                       /* how many drain */
    const struct listener_generation *oldest;
    const void *note; /* for the caller: about the one that serves */
};

struct listener_generation_table {
    struct listener_generations_entry *names;          /* uthash */
    struct listener_generation_socket *listen_sockets; /* uthash: of those that serve */
};

/* False: no memory. Call fini in any case. */
bool listener_generation_table_init(struct listener_generation_table *table,
                                    const struct runtime *runtime);
void listener_generation_table_fini(struct listener_generation_table *table);

/* NULL: there is no such listener. */
struct listener_generations *
listener_generation_table_find(const struct listener_generation_table *table, const char *name);

/* The generation that serves on that listen socket; NULL: there is none. */
struct listener_generation *
listener_generation_table_at(const struct listener_generation_table *table,
                             const struct listen_socket *listen_socket);

#endif
