/* plugin_listener.h: the plugin's part in the life of its listener.
 *
 *     listener_open ─► worker_start, on each worker ─► serves ─► listener_draining ─► sealed ─►
 *     timers stop ─► worker_end, on each worker ─► listener_close
 *
 * From the return of `listener_open` on, threads of the plugin's own may post to workers and submit
 * works. Each such call refers to the listener by listener_try_refer(), which fails once the
 * listener is sealed; what was accepted before has run when `listener_close` begins.
 *
 * Threads: [control], where nothing else is said. */
#ifndef BERTH_HOST_PLUGIN_PLUGIN_LISTENER_H
#define BERTH_HOST_PLUGIN_PLUGIN_LISTENER_H

#include "net/conn/listener_core.h"

/* `listener_open` has returned: the plugin hears of its workers. */
void plugin_listener_begin(struct listener *listener);

/* It accepts nothing of the plugin any more, and waits until what it has accepted has run. */
void plugin_listener_seal(struct listener *listener);

/* Nothing of it runs on any worker any more: they end, each for itself. */
void plugin_listener_end(struct listener *listener);

/* On the worker's thread, before anything of the listener runs there. */
void plugin_listener_start(struct listener *listener, unsigned worker);
static inline void plugin_listener_start_on(struct listener *listener, unsigned worker) {
    if (!listener->traffic[worker].is_started) {
        plugin_listener_start(listener, worker);
    }
}

#endif
