/* watch.h: `berth run --watch`: checks the manifest and the plugins' files periodically.
 *
 * A file counts as changed when its time or size differs and has stayed the same between two
 * passes, so that a file that is being written is left alone until it is complete; a library
 * must be whole, too. A change that could not be put in force (a missing plugin, too many
 * generations) is tried again when anything else has changed. Polling is portable, and works on
 * network drives, too. Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_WATCH_H
#define BERTH_HOST_CONTROL_WATCH_H

#include <stdint.h>

struct service;
struct watch;

enum { WATCH_MS = 500 }; /* between two passes */

struct watch *watch_create(const struct service *service); /* NULL: no memory */
void watch_destroy(struct watch *watch);                   /* NULL is legal */

/* Checks the files if it is time to, and reloads or restarts what has changed. */
void watch_look(struct watch *watch, struct service *service);

#endif
