/* listener.h: one name of the manifest: its addresses, its plugin, its accept policy and limits.
 *
 * Life: create (asks the plugin, binds) -> start (accepts) -> stop_accepting -> its connections end
 * or are cut -> destroy (tells the plugin). Owner: the verb that runs the host. Threads: [control],
 * unless a function says otherwise. */
#ifndef BERTH_HOST_NET_LISTEN_LISTENER_H
#define BERTH_HOST_NET_LISTEN_LISTENER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/address_table.h"
#include "net/conn/listener_core.h"

/* Doors that are open already: one that a listener is about to give up may be taken over by another
 * one, and any other stands in the way of what overlaps it. */
struct listener_neighbours {
    struct address_table held;     /* owner: the listener's name */
    struct address_table given_up; /* owner: the listen socket, of those with a port of their own */
};

/* `previous`: the generation whose listen sockets and admission it shares, or NULL. */
struct listener *listener_create(struct server *server, const struct listener_options *options,
                                 const struct listener *previous, struct error *error);

/* The same in two steps: it has its listen sockets, and the plugin does not know of it yet; it is
 * opened. listener_drop() frees one that could not be opened, or, when the plugin has not returned
 * from that in time, leaves it to it. */
struct listener *listener_make(struct server *server, const struct listener_options *options,
                               const struct listener *previous, struct error *error);
bool listener_open_plugin(struct listener *listener, bool *abandoned, struct error *error);
void listener_drop(struct listener *listener, bool abandoned);

/* Lets clients in by those of its listen sockets that are not open yet. */
bool listener_start(struct listener *listener, struct error *error);

/* Lets them in by the listen sockets that others had, and takes over those clients of `previous`
 * that the plugin has not heard of (NULL: nobody's). Nobody is lost on the way. Cannot fail. */
void listener_take_over(struct listener *listener, struct listener *previous);

bool listener_has_listen_socket(const struct listener *listener,
                                const struct listen_socket *listen_socket);

/* Adds its listen sockets, when its next options are these (NULL: it goes). False: no memory. */
bool listener_neighbours_add(struct listener_neighbours *neighbours,
                             const struct listener *listener, const struct listener_options *next);
void listener_neighbours_fini(struct listener_neighbours *neighbours);

/* Other options, for the same plugin with the same "config" and transport: prepared, which opens
 * new listen sockets and may fail (NULL), then committed or abandoned. A commit closes the listen
 * sockets that are wanted no more, and has all workers rest for a moment. */
struct listener_change;
struct listener_change *listener_prepare(struct listener *listener,
                                         const struct listener_options *options,
                                         struct error *error);
void listener_commit(struct listener_change *change);
void listener_abandon(struct listener_change *change); /* NULL is legal */

/* It takes no more connections, for that reason (BERTH_DRAINING_*): clients that the plugin has not
 * heard of are reset, and the plugin is asked what to do with the others. Returns when no accept is
 * posted any more and the listening sockets are closed. May be called again with another reason. */
void listener_drain(struct listener *listener, uint32_t why);
void listener_stop_accepting(struct listener *listener); /* for the host stops */

/* Nothing new reaches the plugin from now on, until it is resumed: clients wait in the backlog, or
 * unseen where they were accepted already. Connections go on. */
void listener_pause(struct listener *listener);
void listener_resume(struct listener *listener);

/* Ends all its connections, in whatever state; returns how many that were. They are gone only when
 * listener->references is 0, which server_options.idle tells. */
uint32_t listener_abort_all(struct listener *listener);

void listener_destroy(struct listener *listener); /* no connections are left; NULL is legal */

/* What all its generations have counted since there is a listener of that name, in place of *total.
 */
void listener_total(const struct listener *listener, struct listener_counters *total);

/* The addresses with their actual ports; of one that drains, those it had. */
size_t listener_address_count(const struct listener *listener);
struct berth_address listener_address(const struct listener *listener, size_t index);

/* Logs what it still has: itself, and some of its connections on every worker, which must answer.
 */
void listener_log_left(struct listener *listener);

#endif
