/* announce.h: who is to know where the host listens: standard output, and the ready file.
 *
 * Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_ANNOUNCE_H
#define BERTH_HOST_CONTROL_ANNOUNCE_H

#include <stdbool.h>

struct error;
struct instance;

void announce_listeners(const struct instance *instance);
bool announce_ready(const struct instance *instance, const char *path, struct error *error);

#endif
