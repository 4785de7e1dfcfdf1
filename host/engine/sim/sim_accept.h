/* sim_accept.h: what sim_acceptor.c and sim_accept.c share. */
#ifndef BERTH_HOST_ENGINE_SIM_SIM_ACCEPT_H
#define BERTH_HOST_ENGINE_SIM_SIM_ACCEPT_H

#include "engine/sim/sim_connection.h"

enum accept_state {
    ACCEPT_POSTED,  /* without a client */
    ACCEPT_WAITING, /* has a client, waits for its first data */
    ACCEPT_ENDING,  /* cancelled, or failed: the task completes it */
};

struct sim_accept {
    struct sim_op op; /* first */
    struct engine_accept *accept;
    struct engine_acceptor *acceptor;
    struct sim_accept *prev;
    struct sim_accept *next;
    struct sim_end *end;
    enum accept_state state;
    bool is_cancel_asked;
    bool is_cancelled;
    struct sim_event late; /* the second way after a lost cancel */
    int64_t result;        /* ACCEPT_ENDING */
    struct sim_want want;
    struct sim_task task;
};

struct engine_acceptor {
    struct engine_port *port;
    struct engine_listener *listener;
    unsigned index;
    engine_starved_fn *starved;
    void *context;
    struct engine_acceptor *prev;
    struct engine_acceptor *next;
    struct sim_accept *posted;
    unsigned started;
    bool is_notified; /* starved() was called since the last post */
    bool is_plain;
    bool is_running;
    bool is_destroyed;
    struct sim_task task;
};

struct sim_end *
sim_backlog_take(struct sim_backlog *backlog); /* returns the client that came first */

/* Gives the client that came first to the accept that was posted first. The acceptor may be
 * destroyed meanwhile. */
void sim_accept_give_client(struct engine_acceptor *acceptor, struct sim_backlog *backlog);

#endif
