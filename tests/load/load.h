/* load.h: one run of the client, in one process: its connections, and where the run stands.
 *
 * load.c has the loop and the phases, session.c what a single connection does.
 *
 * Owner: main.c starts it. Threads: one; the gathering is shared by processes. */
#ifndef BERTH_LOAD_LOAD_H
#define BERTH_LOAD_LOAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pace.h"

struct answer;
struct error;
struct options;
struct result;
struct transport;

/* Where processes wait for each other, so that all begin to measure at once. */
struct gathering {
    atomic_uint arrived;
    atomic_uint expected;
};

enum load_phase {
    PHASE_CONNECTING, /* block after block; every connection proves that it is served */
    PHASE_GATHERING,  /* the other processes are not so far */
    PHASE_WARMING,
    PHASE_MEASURING,
    PHASE_DRAINING, /* nothing new begins; what is on its way still counts */
    PHASE_OVER,
};

enum session_state {
    SESSION_WAITING, /* for its turn to connect */
    SESSION_CONNECTING,
    SESSION_GREETING, /* its first round trip, which is not measured */
    SESSION_OPEN,
    SESSION_CLOSING,
    SESSION_OVER,
};

/* A message on its way. */
struct message {
    uint64_t due_ns;
    uint64_t began_ns;
};

struct session {
    uint64_t sent; /* bytes that the system has taken */
    uint64_t received;
    uint64_t target;     /* bytes of all messages begun */
    uint64_t answered;   /* bytes of all messages that have come back whole */
    uint64_t due_ns;     /* of the last message, or of the connect */
    uint64_t connect_ns; /* when it began to connect */
    uint64_t heard_ns;   /* when something came, or was asked for, last */
    uint64_t stream;     /* which pattern it sends */
    uint64_t owed;       /* messages that were due and could not begin */
    uint32_t oldest;     /* in its ring of messages */
    uint32_t on_way;     /* of them */
    enum session_state state;
};

struct block {
    struct pace pace;
    uint32_t first, count, cursor;
};

struct load {
    const struct options *options;
    struct result *result;
    const struct result *results; /* of all processes */
    struct gathering *gathering;
    struct transport *transport;
    struct session *sessions;
    struct message *messages; /* options->pipeline for each session */
    struct answer *answers;   /* one for each session of a dialogue; NULL: the server echoes */
    struct block *blocks;
    uint32_t *waiting; /* a ring of those that are to connect */
    uint32_t waiting_first, waiting_count;
    uint32_t count;        /* of sessions */
    bool is_first;         /* of the processes */
    uint32_t number_first; /* what the first one is called in messages */
    uint32_t block_count;
    uint32_t connecting_max;
    uint32_t connecting; /* or not yet greeted */
    uint32_t settled;    /* greeted, or given up */
    uint32_t open;
    uint32_t live; /* not over */
    struct pace connects;
    enum load_phase phase;
    uint64_t now_ns; /* of the event that is being told */
    uint64_t began_ns;
    uint64_t phase_ns;     /* when this phase began */
    uint64_t operation_ns; /* when the last one ended */
    uint64_t server_ns;    /* processor time of the server when measuring began */
    uint64_t operations_max;
    uint64_t started; /* operations */
    uint64_t reads;   /* of slow readers: how often they were allowed some */
};

/* Runs to the end; the result is results[process]. False when it could not even begin; what goes
 * wrong later is in the result. */
bool load_run(const struct options *options, struct result *results, struct gathering *gathering,
              unsigned process, struct error *error);

/* -- for session.c --------------------------------------------------------- */

/* How many of `wanted` new operations may begin now. */
uint64_t load_take(struct load *load, uint64_t wanted);
void load_enqueue(struct load *load, uint32_t slot);

/* Counts what was due at `first_ns`, `each_ns` later, and so on, and cannot begin any more: it has
 * waited until now, which is the least that its latency would have been. */
void load_count_unsent(struct load *load, uint64_t first_ns, double each_ns, uint64_t count);

/* What a slow reader takes at a time. */
size_t load_slow_read_bytes(const struct load *load);

#endif
