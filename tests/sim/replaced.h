/* replaced.h: what of the host is replaced in a world, by the linker: where libraries come from,
 * threads of calls with a deadline, what is random, and who drives the server. */
#ifndef BERTH_TESTS_SIM_REPLACED_H
#define BERTH_TESTS_SIM_REPLACED_H

#include <stdint.h>

struct berth_plugin;
struct server_driver;

void replaced_seed(uint64_t seed);
/* Servers are that driver's, whose context is where the newest is noted, and every library has that
 * plugin. */
void replaced_begin(const struct server_driver *driver, const struct berth_plugin *plugin);

#endif
