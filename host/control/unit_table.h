/* unit_table.h: the generations of the listeners of an instance, looked up by the listener's name.
 *
 * It is made for a moment, in which neither the instance's lists nor names change. Owner: who makes
 * it. Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_UNIT_TABLE_H
#define BERTH_HOST_CONTROL_UNIT_TABLE_H

#include <stdbool.h>
#include <stddef.h>

struct door;
struct instance;
struct unit;

/* All generations of one listener. */
struct unit_names {
    struct unit *serving; /* NULL: none does */
    unsigned past;        /* those that drain */
    const struct unit *oldest;
    const void *note; /* the caller's: of the one that serves */
};

struct unit_table {
    struct unit_name *names; /* uthash */
    struct unit_door *doors; /* uthash: of those that serve */
};

/* False: no memory. Finish it all the same. */
bool unit_table_init(struct unit_table *table, const struct instance *instance);
void unit_table_fini(struct unit_table *table);

/* NULL: there is no such listener. */
struct unit_names *unit_table_find(const struct unit_table *table, const char *name);

/* The one that serves at that door; NULL: it is nobody's of them. */
struct unit *unit_table_at(const struct unit_table *table, const struct door *door);

#endif
