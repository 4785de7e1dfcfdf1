/* announce.h: who is to know where the host listens: standard output, and the ready file.
 *
 * Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_ANNOUNCE_H
#define BERTH_HOST_CONTROL_ANNOUNCE_H

struct instance;

void announce_listeners(const struct instance *instance);
/* The text of the ready file: the caller's to free, or NULL without memory. */
char *announce_text(const struct instance *instance);

#endif
