/* listener.h: one name of the manifest: its addresses, its plugin, its accept policy and limits.
 *
 * Life cycle: create (asks the plugin, binds) -> start (accepts) -> stop_accepting -> its
 * connections end or are aborted -> destroy (notifies the plugin). Owner: the verb that runs the
 * host. Threads: [control], unless a function says otherwise. */
#ifndef BERTH_HOST_NET_LISTEN_LISTENER_H
#define BERTH_HOST_NET_LISTEN_LISTENER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/address_table.h"
#include "net/conn/listener_core.h"

/* Listen sockets that are open already. A listen socket that its listener is about to give up may
 * be taken over by another listener; any other prevents a new one that overlaps it. */
struct listener_neighbours {
    struct address_table held;     /* owner: the listener's name */
    struct address_table given_up; /* owner: the listen socket, of those with a port of their own */
};

/* `previous`: the generation whose listen sockets and admission it shares, or NULL. */
struct listener *listener_create(struct server *server, const struct listener_options *options,
                                 const struct listener *previous, struct error *error);

/* The same in two steps: make it with its listen sockets, before the plugin is called for it; then
 * open it. listener_drop() frees a listener that could not be opened, or, if the plugin has not
 * returned from that in time, leaves it to the plugin. */
struct listener *listener_make(struct server *server, const struct listener_options *options,
                               const struct listener *previous, struct error *error);
bool listener_open_plugin(struct listener *listener, bool *abandoned, struct error *error);
void listener_drop(struct listener *listener, bool abandoned);

/* Accepts clients on those of its listen sockets that are not started yet. */
bool listener_start(struct listener *listener, struct error *error);

/* Accepts clients on the listen sockets that it took from others, and takes over those clients of
 * `previous` that the plugin was not called for yet (NULL: there is no previous one). No client is
 * lost meanwhile. Cannot fail. */
void listener_take_over(struct listener *listener, struct listener *previous);

bool listener_has_listen_socket(const struct listener *listener,
                                const struct listen_socket *listen_socket);

/* Adds its listen sockets, if its next options are these (NULL: it ends). False: no memory. */
bool listener_neighbours_add(struct listener_neighbours *neighbours,
                             const struct listener *listener, const struct listener_options *next);
void listener_neighbours_fini(struct listener_neighbours *neighbours);

/* Other options, for the same plugin with the same "config" and transport: prepared, which opens
 * new listen sockets and may fail (NULL), then committed or abandoned. A commit closes the listen
 * sockets that are not wanted any more, and stops all workers for a moment. */
struct listener_change;
struct listener_change *listener_prepare(struct listener *listener,
                                         const struct listener_options *options,
                                         struct error *error);
void listener_commit(struct listener_change *change);
void listener_abandon(struct listener_change *change); /* NULL is legal */

/* It takes no more connections, for that reason (BERTH_DRAINING_*): clients that the plugin was not
 * called for yet are reset, and the plugin is asked what to do with the others. Returns when no
 * accept is posted any more and the listening sockets are closed. May be called again with another
 * reason. */
void listener_drain(struct listener *listener, uint32_t why);
void listener_stop_accepting(struct listener *listener); /* because the host stops */

/* Nothing new reaches the plugin from now on, until it is resumed: new connections wait in the
 * backlog, or unseen if they were accepted already. Open connections go on. */
void listener_pause(struct listener *listener);
void listener_resume(struct listener *listener);

/* Ends all its connections, in any state; returns how many that were. They are freed only when
 * listener->references is 0; server_options.idle is called then. */
uint32_t listener_abort_all(struct listener *listener);

void listener_destroy(struct listener *listener); /* no connections are left; NULL is legal */

/* Writes to *total what all its generations have counted since a listener of that name exists. */
void listener_total(const struct listener *listener, struct listener_counters *total);

/* The addresses with their actual ports; of a listener that drains, those it had. */
size_t listener_address_count(const struct listener *listener);
struct berth_address listener_address(const struct listener *listener, size_t index);

/* Logs what it still has: itself, and some of its connections on every worker. The workers must
 * answer. */
void listener_log_left(struct listener *listener);

#endif
