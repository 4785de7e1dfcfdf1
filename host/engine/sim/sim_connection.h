/* sim_connection.h: a connection of the simulated network: two ends, and a pipe to each end. */
#ifndef BERTH_HOST_ENGINE_SIM_SIM_CONNECTION_H
#define BERTH_HOST_ENGINE_SIM_SIM_CONNECTION_H

#include "engine/sim/sim_private.h"

enum sim_mark_kind { SIM_MARK_BYTES, SIM_MARK_FIN, SIM_MARK_RESET };

/* A segment in flight. */
struct sim_mark {
    uint64_t at_us;
    uint32_t size;
    enum sim_mark_kind kind;
};

/* One direction: the bytes to the end that the pipe is part of. */
struct sim_pipe {
    uint8_t *bytes; /* a ring: bytes that can be received, then bytes in flight */
    uint32_t room;
    uint32_t head;
    uint32_t readable;
    uint32_t flying;
    uint32_t window; /* of both together */
    uint64_t taken;  /* received so far */
    struct sim_mark *marks;
    uint32_t mark_room;
    uint32_t mark_head;
    uint32_t mark_count;
    bool fin_sent;
    bool fin_arrived;
    bool is_cut; /* nothing arrives any more */
    struct sim_event arrival;
};

struct sim_receive {
    struct sim_op op;
    struct sim_want want;
    enum engine_receive_mode mode;
    bool is_drain; /* engine_receive_drain() */
    bool is_stop_asked;
    bool is_stopping;
    bool is_abandoned; /* closing its socket does not end it either */
    bool stops_late;
};

struct sim_send {
    struct sim_op op;
    struct engine_piece pieces[ENGINE_PIECES_MAX];
    unsigned count;
    uint64_t done;
    uint64_t checksum;
    bool is_cancel_asked;
    bool ends_late; /* it is cancelled, and completes without waiting for more room */
    bool is_abandoned;
    bool is_decided;
    int64_t result;
    struct sim_event go_on;
    struct sim_task told;
    struct sim_end *end;
};

struct sim_end {
    struct sim_connection *connection;
    struct sim_pipe in;
    struct berth_address local;
    struct berth_address remote;
    int64_t error; /* why the connection is gone; 0: it is not */
    bool is_engines;
    bool is_closed; /* by its owner */
    bool reads_fin; /* the reset is read as a FIN */
    bool keeps_fin; /* the FIN is sent */

    /* Of an end that the engine owns. */
    uint32_t slot; /* in the table of sockets + 1; 0: none yet */
    bool is_direct;
    struct engine_port *port; /* attached to */
    struct engine_listener *listener;
    struct engine_socket_options options;
    struct sim_task task; /* ready when something came that a receive waits for */
    struct sim_accept *accept;
    struct sim_receive receive;
    struct sim_send *send; /* in flight */
    uint64_t connected_us;
    uint64_t
        failed_us; /* when an operation failed in a way that ends the connection; 0: none has */
    struct sim_end *next_in_backlog;
    bool is_orphan; /* its socket is closed with operations in flight */
    struct sim_event abandon;
    struct sim_event give_up; /* the peer has vanished */

    /* Of an end that is a peer. */
    enum sim_peer_state state;
    sim_peer_fn *changed;
    void *context;
    struct sim_event notify;
    struct sim_event attempt;
    unsigned attempts;
    bool is_sending; /* is notified when there is room */
};

struct sim_connection {
    struct sim_end ends[2];
    uint64_t id;
    struct sim_connection *prev;
    struct sim_connection *next;
};

/* Creates a connection and returns one of its ends; the other end has no owner yet. */
struct sim_end *sim_end_create(void);
void sim_connection_free(struct sim_connection *connection);
static inline struct sim_end *sim_other(const struct sim_end *end) {
    struct sim_connection *connection = end->connection;
    return end == &connection->ends[0] ? &connection->ends[1] : &connection->ends[0];
}
/* For the trace: the connection, and which of its ends. */
static inline uint64_t sim_end_id(const struct sim_end *end) {
    return end->connection->id << 1 | (end == &end->connection->ends[1]);
}

uint32_t sim_stream_room(const struct sim_end *end); /* for bytes that the end sends */
void sim_stream_write(struct sim_end *end, const uint8_t *bytes, uint32_t size);
uint32_t sim_stream_read(struct sim_end *end, uint8_t *bytes, uint32_t size);
void sim_stream_fin(struct sim_end *end);
/* Ends the connection with an error for both ends; the other end gets it after a latency. */
void sim_stream_break(struct sim_end *end, int64_t error);
/* The owner closes the end, which may free both ends. */
void sim_stream_close(struct sim_end *end, bool reset);
/* The last operation of an orphan has completed: it is closed. */
void sim_orphan_end(struct sim_end *end);
void sim_stream_cut(struct sim_end *end);
/* An operation has failed with that result, which the socket's user gets. */
void sim_end_failed(struct sim_end *end, int64_t result);
/* Something has come for the end; or there is room for bytes that it sends. */
void sim_end_heard(struct sim_end *end);
void sim_end_has_room(struct sim_end *end);

#endif
