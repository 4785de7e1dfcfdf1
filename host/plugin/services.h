/* services.h: the table of functions that plugins call (struct berth_host).
 *
 * Owner: static. Threads: each function as berth/host.h says. */
#ifndef BERTH_HOST_PLUGIN_SERVICES_H
#define BERTH_HOST_PLUGIN_SERVICES_H

#include "berth/host.h"

/* The table for a runtime of that name. Every module gets its own copy. The strings must outlive
 * the copies. */
struct berth_host services_table(const char *name, const char *version);

#endif
