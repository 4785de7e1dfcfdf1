/* admission.h: what the generations of a listener count together: its clients, for the limits on
 * them, and the counters that are reported for it.
 *
 * A connection of an old generation counts like any other. Owner: the generations that share it, by
 * references. Threads: the counts any; else [control]. */
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
    struct listener *generations;  /* utlist: all that exist; [control] */
    struct listener_counters gone; /* the counters of generations that have ended; [control] */
};

struct admission *admission_create(const struct client_limits *limits); /* NULL: no memory */
void admission_acquire(struct admission *admission);
void admission_release(struct admission *admission); /* by the last generation, when it
                                                        counts no connection; NULL is legal */

#endif
