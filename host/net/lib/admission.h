/* admission.h: what the generations of a listener count together: its clients, for the limits on
 * them, and all that is told of it.
 *
 * A connection of an old generation takes room like any other. Owner: the generations that share
 * it, by references. Threads: the counts any; else [control]. */
#ifndef BERTH_HOST_NET_LIB_ADMISSION_H
#define BERTH_HOST_NET_LIB_ADMISSION_H

#include <stdatomic.h>

#include "net/lib/client_table.h"
#include "net/lib/listener_counters.h"

struct listener;

struct admission {
    unsigned references;
    atomic_uint connections; /* admitted */
    struct client_table clients;
    struct listener *generations;  /* utlist: all that there are; [control] */
    struct listener_counters gone; /* what those before them have counted; [control] */
};

struct admission *admission_create(const struct client_limits *limits); /* NULL: no memory */
void admission_acquire(struct admission *admission);
void admission_release(struct admission *admission); /* no connection is counted any more by the
                                         last one; NULL is legal */

#endif
