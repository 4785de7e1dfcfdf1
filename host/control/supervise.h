/* supervise.h: `berth run --supervise`: a small parent process that restarts the host when it
 * crashes.
 *
 * The parent holds a duplicate of every listening socket, so that new connections wait in the
 * backlog and are not refused while there is no host; the next host takes the sockets over. The
 * parent counts the crashes that are attributed to a plugin. After host.crashes_max of them in
 * host.crash_window_ms it starts the host without that plugin: its listeners are closed until
 * `berth release` releases it.
 *
 * supervise.c is the parent, supervisor_client.c the host's side. They exchange struct
 * supervise_message and sockets over an os_link. Threads: [control], unless stated otherwise. */
#ifndef BERTH_HOST_CONTROL_SUPERVISE_H
#define BERTH_HOST_CONTROL_SUPERVISE_H

#include <stdbool.h>
#include <stdint.h>

#include "control/last_end.h"
#include "engine/engine.h"
#include "plugin/call_page.h"

struct command;
struct cJSON;
struct error;
struct runtime;
struct manifest;

enum supervise_kind {
    /* to the parent */
    SUPERVISE_KEEP = 1, /* a socket: name, index */
    SUPERVISE_DROP,     /* the same: the socket is closed for good */
    SUPERVISE_LIMITS,   /* index: crashes_max; value: crash_window_ms; end_ms; stop_ms; format: of
                           the log */
    SUPERVISE_CRASH, /* call: the call that crashed, without a plugin if it is attributed to none */
    SUPERVISE_STOPPING, /* the host ends because it was asked to */
    SUPERVISE_RELEASE,  /* name: a plugin whose quarantine is lifted */
    SUPERVISE_STARTING, /* the manifest is read; index: start_timeout_ms */
    SUPERVISE_FAILED,   /* the host cannot serve, and has logged why */
    /* to the host */
    SUPERVISE_SOCKET,     /* as SUPERVISE_KEEP */
    SUPERVISE_QUARANTINE, /* name: a plugin; text: why; value: since when, in engine_now_ms() */
    SUPERVISE_END, /* how the last host has ended: text; index: the members of last_end except its
                      calls, as bits: enum supervise_end; value: when, in engine_now_ms() */
    SUPERVISE_END_CALL, /* call: one of the calls of that end */
    SUPERVISE_GO, /* the last message; index: how often the host has been restarted; value: whether
                     it was logged why the last host did not serve */
};

enum supervise_end { SUPERVISE_END_REPORTED = 1, SUPERVISE_END_ATTRIBUTED = 2 };

struct supervise_message {
    uint32_t kind;
    uint32_t index;
    uint64_t value;
    uint32_t format;
    uint32_t end_ms;  /* crash_end_ms */
    uint32_t stop_ms; /* drain_timeout_ms */
    char name[192];
    char text[256];
    struct call_info call;
};

/* The parent: returns the exit code of the last host. */
int supervise(const struct command *options);

/* -- the host's side: without a parent, also with NULL, it does nothing ---- */

struct os_link;
struct supervisor_client_given;

/* A host's link to its parent, and the state received from it. Zero-initialized. Owner: the verb
 * `run`. */
struct supervised {
    struct os_link *link;                        /* NULL: there is no supervisor */
    struct supervisor_client_given *sockets;     /* utlist: of earlier hosts, not taken over yet */
    struct supervisor_client_given *quarantines; /* utlist: plugins */
    struct last_end last;
    bool explained;
    uint32_t restarts;
    struct inherited_sockets keeper;
};

/* Receives the state that the parent sends. */
bool supervisor_client_begin(struct supervised *parent, const char *link, struct error *error);

/* The parent's interface for listening sockets; NULL: there is no parent. */
const struct inherited_sockets *supervisor_client_sockets(struct supervised *parent);

/* Tells the parent that the manifest is read, and how long the start may take. */
void supervisor_client_starting(struct supervised *parent, const struct manifest *manifest);
void supervisor_client_failed(
    struct supervised *parent); /* the host cannot serve, and has logged why */

/* The listeners are open: closes the sockets that none of them uses, and sends the parent the
 * manifest's limits. */
void supervisor_client_ready(struct supervised *parent, const struct manifest *manifest);

bool supervisor_client_is_restart(
    const struct supervised *parent); /* the host replaces one that has crashed */
bool supervisor_client_is_explained(
    const struct supervised *parent); /* the log says why that host did not serve */
void supervisor_client_stopping(
    struct supervised *parent); /* the host ends because it was asked to */
void supervisor_client_ends_by_force(
    struct supervised *parent); /* the same, and the process ends now. [any] */
void supervisor_client_end(struct supervised *parent);

bool supervisor_client_is_quarantined(const struct supervised *parent, const char *plugin);
/* False: it is not in quarantine. */
bool supervisor_client_release(struct supervised *parent, const char *plugin);
void supervisor_client_quarantine_again(struct supervised *parent,
                                        const char *plugin); /* its release failed */
void supervisor_client_released(struct supervised *parent,
                                const char *plugin); /* it is released: informs the parent */

/* Adds "supervised", "restarts", "last_end" and "quarantine". */
void supervisor_client_describe(const struct supervised *parent, struct cJSON *status);

/* Called in a crash: reports it to the parent, which is the context. [any] */
void supervisor_client_report_crash(void *context, const struct call_info *call);

#endif
