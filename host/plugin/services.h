/* services.h: the table of functions that plugins call (struct berth_host).
 *
 * Owner: static. Threads: each function as berth/host.h says. */
#ifndef BERTH_HOST_PLUGIN_SERVICES_H
#define BERTH_HOST_PLUGIN_SERVICES_H

#include "berth/host.h"

/* The table for an instance of that name: every module gets a copy of its own. The strings live as
 * long as the copies. */
struct berth_host services_table(const char *name, const char *version);

#endif
