/* plugin_listener.h: the plugin's callbacks in the life cycle of its listener.
 *
 *     listener_open ─► worker_start, on each worker ─► serves ─► listener_draining ─► sealed ─►
 *     timers stop ─► worker_end, on each worker ─► listener_close
 *
 * From the return of `listener_open` on, threads of the plugin's own may post to workers and submit
 * works. Each such call takes a reference to the listener by listener_try_refer(), which fails once
 * the listener is sealed; what was accepted before has run when `listener_close` begins.
 *
 * Threads: [control], unless stated otherwise. */
#ifndef BERTH_HOST_PLUGIN_PLUGIN_LISTENER_H
#define BERTH_HOST_PLUGIN_PLUGIN_LISTENER_H

#include "net/conn/listener_core.h"

/* `listener_open` has returned: `worker_start` may be called from now on. */
void plugin_listener_begin(struct listener *listener);

/* The listener accepts no more posts and works of the plugin. Waits until those it has accepted
 * have run. */
void plugin_listener_seal(struct listener *listener);

/* Nothing of the listener runs on a worker any more: `worker_end` is called on each worker. */
void plugin_listener_end(struct listener *listener);

/* On the worker's thread, before anything of the listener runs there. */
void plugin_listener_start(struct listener *listener, unsigned worker);
static inline void plugin_listener_start_on(struct listener *listener, unsigned worker) {
    if (!listener->traffic[worker].is_started) {
        plugin_listener_start(listener, worker);
    }
}

#endif
