/* world.h: one world, that of a seed: the real host on the simulated engine, its listeners, clients
 * of every temper, and a plugin that uses the services by chance and checks what it sees.
 *
 * A conversation is a client and the connection that the plugin has of it. Every byte of its two
 * streams is computed from the stream and the position in it. One world exists at a time. */
#ifndef BERTH_TESTS_SIM_WORLD_H
#define BERTH_TESTS_SIM_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "berth/datagram.h"
#include "berth/plugin.h"
#include "engine/sim/sim.h"

enum {
    CONVERSATIONS_MAX = 24,
    FIRST_PORT = 20000,
    TIMERS = 3,
    INSERTS_MAX = 12,
    KEPT_MAX = 2,
    WORKERS_MAX = 3,
    ADDRESSES = 3, /* of clients */
    BUSY = 950,    /* the number of the stream of busy answers */
};

enum temper {
    TEMPER_PATIENT,   /* sends its bytes, then a FIN, and reads to the end */
    TEMPER_DRIBBLES,  /* the same, one byte at a time */
    TEMPER_SLOW,      /* reads and sends little at a time */
    TEMPER_GREEDY,    /* reads only when all is sent */
    TEMPER_FIN_FIRST, /* sends a FIN at once */
    TEMPER_WAITS,     /* sends its bytes and no FIN: the plugin closes */
    TEMPER_POLITE,    /* the last of those that must be served to the end */
    TEMPER_SILENT,    /* sends nothing, and leaves some time */
    TEMPER_DEAF,      /* sends and never reads, and leaves some time */
    TEMPER_RESETS,    /* half way */
    TEMPER_LEAVES,    /* half way, with bytes unread */
    TEMPER_VANISHES,
    TEMPERS
};

/* What the plugin knows of a timer. */
struct timer_model {
    struct conversation *conversation;
    struct berth_timer *timer;
    uint64_t due_ms;
    bool is_running;
};

/* What the plugin has given in place of its own stream: a run of the file, or of the client's. */
enum source { SOURCE_FILE, SOURCE_CLIENT };
struct insert {
    uint64_t at;
    uint64_t size;
    uint64_t from;
    enum source source;
};

/* A received slice that the plugin keeps, and where in the client's stream it is from. */
struct kept {
    struct berth_slice slice;
    uint64_t at;
};

struct conversation {
    unsigned number;

    /* The client. */
    struct sim_timer pace;
    struct sim_peer *peer;
    enum temper temper;
    bool is_over;
    bool has_fin;     /* of the plugin's stream */
    bool began_quiet; /* after the last fault */
    uint64_t leaves_us;
    uint64_t connects_us;
    uint64_t opened_us;
    uint64_t speaks_us;      /* its first word, or its end; 0: not yet */
    uint64_t speaks_room_us; /* by the clocks of limits.c */
    uint64_t speaks_entry_us;
    uint8_t header[64]; /* of the PROXY protocol, in front of its stream */
    uint32_t header_size;
    uint32_t header_sent;
    bool is_answered; /* that there is no room for it */
    bool is_garbage;  /* instead of a header */
    uint64_t size;    /* that it wants to send */
    uint64_t sent;
    uint64_t received;

    /* The plugin's connection. */
    struct berth_conn *conn;
    uint64_t conn_id;
    bool has_opened;
    bool has_closed;
    bool was_killed; /* abort(), or an end that may lose bytes */
    bool is_ending;  /* at once: nothing but `closed` follows */
    bool has_ended_send;
    bool has_called_close;
    uint64_t taken_at_close; /* of what the client sent; UINT64_MAX: it had left */
    bool peer_has_closed;
    bool is_paused;
    bool is_filled;
    uint32_t wanted; /* of want_at_least() */
    uint64_t consumed;
    uint64_t offered;  /* the most that `received` has shown */
    uint64_t given;    /* accepted by a send */
    uint64_t budget;   /* of bytes to give */
    uint64_t short_at; /* where a file ends before its piece; 0: none does */
    unsigned sends;    /* pieces given so far */
    struct insert inserts[INSERTS_MAX];
    unsigned insert_count;
    bool has_sent_file;
    struct kept kept[KEPT_MAX];
    bool is_resumed; /* and is shown what it had left */
    uint64_t due_us; /* since when it is to be shown something; 0: it is not */
    unsigned pulses;
    struct timer_model pulse; /* goes on with what waits, as long as the connection is there */
    struct timer_model timers[TIMERS];
};

struct world {
    struct server *server;
    const struct admission
        *admission; /* of the listener that the clients are on, for all its generations */
    struct berth_address address; /* of the listener, through all its generations */
    unsigned conversation_count;
    struct conversation conversations[CONVERSATIONS_MAX];
    bool is_faulty;       /* things fail by chance */
    bool is_counted;      /* from the start to the end */
    uint32_t allocations; /* probability that one fails in a turn, in millionths */
    unsigned pending;     /* posts, works and connects that are not answered yet */
    uint64_t outbound_given;
    unsigned callbacks; /* that are running: at most one */
    unsigned opened;
    unsigned closed;
    unsigned connected; /* outbound connections, and those that have closed */
    unsigned connected_closed;
    uint64_t stops_us;        /* when the host begins to stop */
    uint64_t progress_us;     /* when a byte last came from or to a client */
    uint32_t connections_max; /* the highest that was ever in force */
    unsigned steps;
    bool has_proxies;    /* clients with the address 127.0.0.2 are proxies */
    uint32_t timers_max; /* likewise */
    uint32_t works_max;
    uint32_t active_io_max;
    uint32_t linger_max;
    uint32_t buffer_bytes;
    uint32_t first_data_min_ms; /* the shortest time that there was for it */
    bool memory_failed;         /* some allocation was made to fail */
    bool denies;                /* clients and senders with the address 127.0.0.3 */
    bool is_crowded;            /* by silent clients */
    uint32_t busy_bytes;        /* of a busy answer */
    unsigned busy_calls;
    uint64_t sent_away_before; /* clients that were refused before nothing failed any more */
    unsigned unopened_resets;  /* of clients that the plugin was not told of, without a fault */
    uint32_t rate;             /* limits.accept_rate_per_client; 0: none */
    uint32_t rate_burst;
    uint32_t posts_max;
    uint32_t queue_max;
    uint32_t files_max;
    uint32_t host_connections_max;
    uint32_t connections_min; /* the lowest that were ever in force */
    uint32_t per_client_min;
    uint32_t per_client_max;
    uint32_t pending_min;
    uint32_t first_data_max_ms;
    unsigned posts[WORKERS_MAX]; /* on their way to a worker */
    unsigned opened_most;        /* at a time */
    unsigned opened_of[ADDRESSES];
    unsigned opened_of_most;
    uint64_t room_us;  /* for how long there was room under every limit on connections, */
    uint64_t entry_us; /* and under limits.pending_max as well; see limits.c */
    unsigned changes_left;
    uint64_t next_change_us;
};

struct outbound;

extern struct world world;

static inline bool memory_may_fail(void) {
    return world.is_faulty && world.allocations > 0;
}

/* Plays the world of the seed; returns the hash of its trace. Ends the process by rule_broken(). */
uint64_t world_play(uint64_t seed, sim_trace_fn *trace);

/* -- the streams (streams.c) -- */

enum stream { STREAM_OF_CLIENT, STREAM_OF_PLUGIN };
void stream_fill(unsigned number, enum stream stream, uint64_t at, uint8_t *bytes, uint64_t size);
/* Whether those are the stream's bytes from `at` on. */
bool stream_has(unsigned number, enum stream stream, uint64_t at, const uint8_t *bytes,
                uint64_t size);

/* What the plugin has given of a conversation: its stream, with what was inserted (given.c). */
void given_setup(const char *program); /* whose file is the one that is sent */
extern const uint8_t *given_file;
extern uint64_t given_file_size;
extern const char *given_file_path;
bool given_has(const struct conversation *conversation, uint64_t at, const uint8_t *bytes,
               uint64_t size);
/* False: there is no room for one more. */
bool given_can_insert(const struct conversation *conversation);
void given_insert(struct conversation *conversation, enum source source, uint64_t from, uint64_t at,
                  uint64_t size);

/* -- limits (limits.c) -- */

void limits_note_opened(struct conversation *conversation);
void limits_begin_quiet(void);   /* from now on nothing fails */
void limits_check(void);         /* after every step */
void limits_check_refused(void); /* at the end */

/* -- datagrams (datagrams_by_chance.c) -- */

void datagrams_begin(void);
void datagrams_check(void); /* at the end */
void datagrams_end(void);
void datagrams_answer_late(const struct berth_listener *listener);
void BERTH_CALL datagrams_on_datagram(const struct berth_listener *listener,
                                      const struct berth_datagram *datagram);

/* -- the clients (clients.c) -- */

/* The header that a proxy sends for its client, or what is none (proxies.c). */
void proxy_header_by_chance(struct conversation *client);
/* Whether the plugin is told the right address of the client. */
bool proxy_address_is_right(const struct conversation *client, const struct berth_address *remote);

bool client_is_denied(const struct conversation *client);
void clients_begin(unsigned from, unsigned to);
bool clients_are_over(void);
unsigned clients_silent(uint64_t time_us); /* those that said nothing for so long */
const char *temper_name(enum temper temper);

/* -- the plugin (checking_plugin.c, services_by_chance.c) -- */

extern const struct berth_plugin checking_plugin;

/* What the host keeps for the plugin of a connection: of an accepted one, or of an outbound one. */
struct view {
    struct conversation *conversation;
    struct outbound *outbound;
};

void callback_begin(const char *name);
void callback_end(void);

/* Uses some services, chosen by the seed. */
void services_use(struct conversation *conversation);
void services_pulse(struct conversation *conversation); /* creates and starts it */
void services_end(struct conversation *conversation);   /* it has closed: its timers are gone */
void services_close(struct conversation *conversation);
void send_by_chance(struct conversation *conversation); /* (sends_by_chance.c) */
void keep_by_chance(struct conversation *conversation, const struct berth_slice *data);
void kept_end(struct conversation *conversation);
void conversation_closes(struct conversation *conversation); /* from now on */

#endif
