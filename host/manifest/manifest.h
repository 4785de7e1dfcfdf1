/* manifest.h: the checked form of berth.json. Reading it is the only place that knows cJSON.
 *
 * manifest_load() parses and checks everything, and reports all errors in one go; `berth check`,
 * `berth run` and reload use the same code. A manifest that was returned has every default filled
 * in and no impossible combination. config/berth.schema.json describes the same language.
 *
 * Owner: the caller; manifest_destroy(). Read-only after loading. */
#ifndef BERTH_HOST_MANIFEST_MANIFEST_H
#define BERTH_HOST_MANIFEST_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/address_prefix.h"
#include "base/log.h"
#include "berth/address.h"

#define MANIFEST_BYTES_MAX ((size_t)1024 * 1024)
#define MANIFEST_DEPTH_MAX 64

enum manifest_engine { MANIFEST_ENGINE_AUTO, MANIFEST_ENGINE_URING, MANIFEST_ENGINE_EPOLL };
enum manifest_accept_when { MANIFEST_ACCEPT_CONNECT, MANIFEST_ACCEPT_DATA };
enum manifest_at_limit { MANIFEST_LIMIT_BACKLOG, MANIFEST_LIMIT_REFUSE };
enum manifest_untrusted { MANIFEST_UNTRUSTED_REFUSE, MANIFEST_UNTRUSTED_LOAD };
enum manifest_transport { MANIFEST_TRANSPORT_TCP, MANIFEST_TRANSPORT_UDP };
enum manifest_linger { MANIFEST_LINGER_FINISH, MANIFEST_LINGER_RESET };
enum manifest_queue_full { MANIFEST_QUEUE_PAUSE, MANIFEST_QUEUE_CLOSE };
enum manifest_receive { MANIFEST_RECEIVE_ZERO_BYTE, MANIFEST_RECEIVE_BUFFERED };

/* "/listeners/<name>" */
struct manifest_listener {
    char *name;
    char *plugin;                    /* an id: a name without path parts */
    struct berth_address *addresses; /* at least one */
    size_t address_count;
    enum manifest_transport transport;
    bool v6_only;
    bool accept_own_datagrams;
    struct {
        enum manifest_accept_when when;
        struct {
            uint32_t initial;
            uint32_t low;
            uint32_t high;
        } pool;
        uint32_t backlog; /* 0: the system's maximum */
        uint32_t first_data_timeout_ms;
        uint32_t pending_max; /* connected and silent at a time, beyond the pool */
        enum manifest_at_limit at_limit;
        bool reuse_sockets;
    } accept;
    struct {
        uint32_t connections;
        uint32_t per_client; /* 0: no limit */
        struct {
            uint32_t per_second; /* 0: no limit */
            uint32_t burst;
        } accept_rate_per_client;
        uint32_t clients_remembered; /* for the rate, when they have no connections */
        uint32_t refusing;           /* told "busy" at a time */
        uint32_t message_bytes;      /* unconsumed bytes a plugin may leave */
        uint32_t active_io;          /* connections that receive or send at a time; 0: no limit */
        uint32_t outbound;           /* connections made for the plugin at a time */
        uint32_t works;              /* that wait for the pool */
        uint32_t works_per_client;   /* of them, of one client */
        uint32_t timers;             /* of one connection, or of the listener, at a time */
        uint32_t send_queue_bytes;   /* full at it */
        uint32_t send_queue_pieces;  /* full at so many slices and runs of files, too */
        enum manifest_queue_full send_queue_full;
        uint32_t linger_bytes; /* read and thrown away while a connection closes */
    } limits;
    struct {
        struct address_prefix *from; /* who sends the header; none: nobody */
        size_t from_count;
        uint32_t timeout_ms;
    } proxy_protocol;
    struct {
        uint32_t receive_buffer_bytes; /* 0: the system's default */
        uint32_t send_buffer_bytes;
        enum manifest_linger linger;
        struct {
            uint32_t idle_s; /* 0: no keep-alive */
            uint32_t interval_s;
            uint32_t probes;
        } keepalive;
    } socket;
    uint32_t idle_timeout_ms;     /* 0: none */
    struct address_prefix *allow; /* none: everybody */
    size_t allow_count;
    struct address_prefix *deny; /* counts more than `allow` */
    size_t deny_count;
    uint32_t close_timeout_ms; /* how long close() waits for the peer's FIN */
    bool no_delay;
    enum manifest_receive receive;
    /* Of generations that drain; 0: no limit, MANIFEST_AS_HOST: host.generation_drain_timeout_ms.
     */
    uint32_t generation_drain_timeout_ms;
    char *config_json; /* "config" as compact JSON; "{}" by default */
    char *json;        /* all of the listener as compact JSON: equal texts mean equal listeners */
    size_t line;       /* where the listener begins in the file, for later messages */
};

/* Of a listener's value that it leaves to the host's. */
#define MANIFEST_AS_HOST UINT32_MAX

enum { MANIFEST_START_TIMEOUT_MS = 30000 }; /* by default */

struct manifest {
    char *path;
    char *text; /* NULL where it came from memory */
    size_t text_size;
    struct {
        char *name;
        unsigned workers; /* 0: "auto", one a core */
        enum manifest_engine engine;
        uint32_t direct_descriptors; /* of each worker's ring; 0: none */
        char *plugins;               /* a folder; absolute, or relative to the host's folder */
        struct {
            uint32_t bytes_max;                /* of one; a larger one is not loaded */
            enum manifest_untrusted untrusted; /* what other users can change */
            char *copies; /* the folder for private copies, as `plugins`; NULL: the system's */
        } plugin_files;
        uint32_t drain_timeout_ms; /* of a stop */
        uint32_t
            generation_drain_timeout_ms; /* of what a restart or reload replaces; 0: no limit */
        uint32_t generations_max;        /* of one listener at a time, the draining ones included */
        uint32_t stall_warning_ms;       /* a callback that takes longer is told of; 0: none is */
        uint32_t hang_timeout_ms;        /* a callback that takes longer is a crash; 0: none is */
        uint32_t crashes_max;            /* of one plugin in the window: then it is left out */
        uint32_t crash_window_ms;
        uint32_t crash_end_ms; /* how long a crashed host may take to end */
        uint32_t
            start_timeout_ms; /* how long a supervised host may take to be ready; 0: any time */
        bool control;         /* whether it can be spoken to while it runs */
        struct {
            uint32_t connections;
            uint32_t posts; /* messages waiting for one worker */
            uint32_t descriptors_reserved;
            uint32_t files; /* that plugins have open */
        } limits;
        struct {
            uint32_t threads_min;
            uint32_t threads_max;
            uint32_t queue_max;
            uint32_t idle_ms; /* a thread above the minimum ends after so long without work */
        } work;
        struct {
            uint32_t bytes;        /* of one buffer */
            uint32_t retained_max; /* free buffers kept by each worker */
        } buffers;
        struct {
            uint32_t receive_bytes; /* that one connection may receive in a turn of its worker */
            uint32_t send_bytes;    /* that may be sent to it */
        } turn;
        struct {
            enum log_level level;
            enum log_format format;
            uint32_t queue_bytes; /* of lines that wait to be written */
            uint32_t limit_lines; /* of one listener and kind in a window; 0: no limit */
            uint32_t limit_window_ms;
            uint32_t flush_timeout_ms; /* for what is queued when the host ends */
        } log;
    } host;
    struct manifest_listener *listeners;
    size_t listener_count;
};

/* One thing that is wrong. Line and column are of the offending key or value, from 1. */
struct manifest_error {
    size_t line;
    size_t column;
    char *pointer; /* "/listeners/echo/accept/when"; "" is the whole file (RFC 6901) */
    char *message;
    size_t order; /* in which it was found */
};

struct looked_up;

struct manifest_errors {
    struct manifest_error *items;
    size_t count;
    size_t capacity;
    struct looked_up *looked_up; /* for manifest_errors_add_at(); or NULL */
    bool lost;                   /* there was no memory for one of them */
};

/* Reads and checks the file. NULL when anything is wrong: then `errors` tells it all, sorted by
 * place. Free both results. The text is kept with it. */
struct manifest *manifest_load(const char *path, struct manifest_errors *errors);

/* What else there is to say of a listener's plugin when the manifest is broken anyway: so that all
 * comes in one go. `explain` returns false where there is nothing to say. */
struct manifest_look {
    bool (*explain)(void *context, const struct manifest *manifest, const char *plugin, char *text,
                    size_t size);
    void *context;
};
struct manifest *manifest_load_with(const char *path, const struct manifest_look *look,
                                    struct manifest_errors *errors);

/* The same for text in memory; `path` is only for messages. */
struct manifest *manifest_parse(const char *path, const char *text, size_t size,
                                struct manifest_errors *errors);

/* The format of the log that the file at `path` asks for, as far as it can be read: a manifest with
 * errors, and one that is not even JSON, says it too. False: it says nothing. */
bool manifest_log_format(const char *path, enum log_format *format);

/* "auto", "io_uring", "epoll" */
const char *manifest_engine_name(enum manifest_engine engine);

void manifest_destroy(struct manifest *manifest); /* NULL is legal */
void manifest_errors_fini(struct manifest_errors *errors);

/* "file:line:column: /json/pointer: message" into text, or the message alone where it has no place;
 * returns as snprintf. */
int manifest_error_format(const struct manifest_error *error, const char *path, char *text,
                          size_t size);

/* Adds an error found later (a plugin that is not there) at a place given by its JSON pointer. The
 * place is looked up in the file's text, which is read again once for all errors of a list. */
bool manifest_errors_add_at(struct manifest_errors *errors, const char *path, const char *pointer,
                            const char *format, ...) BERTH_PRINTF(4, 5);

/* Moves all of `from` over, and sorts by place. False: no memory, some are left. */
bool manifest_errors_merge(struct manifest_errors *to, struct manifest_errors *from);

/* Something without a place. */
bool manifest_errors_add(struct manifest_errors *errors, const char *message);

/* Whether the text is a JSON object, as a "config" is; else the error says what is wrong. */
bool manifest_json_check(const char *text, struct error *error);

/* Whether it could be a "host.name". */
bool manifest_name_valid(const char *name);

/* The candidate nearest in spelling, or NULL when none is near: for "did you mean". */
const char *manifest_nearest(const char *word, const char *const *candidates, size_t count);

#endif
