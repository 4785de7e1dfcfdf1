/* watch.h: `berth run --watch`: the manifest and the plugins' files, looked at again and again.
 *
 * A file counts as changed when its time or size is another one and has stayed the same between two
 * looks, so that one that is being written is left alone until it is complete; a library must be
 * whole, too. What has changed and could not be put in force (a plugin that is not there yet, too
 * many generations) is tried again when anything else has changed. Looking is portable, and works
 * on network drives too. Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_WATCH_H
#define BERTH_HOST_CONTROL_WATCH_H

#include <stdint.h>

struct service;
struct watch;

enum { WATCH_MS = 500 }; /* between two looks */

struct watch *watch_create(const struct service *service); /* NULL: no memory */
void watch_destroy(struct watch *watch);                   /* NULL is legal */

/* Looks if it is time to, and reloads or restarts what has changed. */
void watch_look(struct watch *watch, struct service *service);

#endif
