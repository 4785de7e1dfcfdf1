/* supervise.h: `berth run --supervise`: a small parent that restarts the host when it crashes.
 *
 * The parent holds a duplicate of every listening socket, so that clients queue and nobody is
 * refused while there is no host; the next one takes them over. It counts the crashes that are laid
 * to a plugin, and after host.crashes_max of them in host.crash_window_ms starts the host without
 * that plugin: its listeners are closed until `berth release` lets it in again.
 *
 * supervise.c is the parent, supervisor_client.c the host's side. Between them go struct
 * supervise_message and sockets, over an os_link. Threads: [control], but where it says more. */
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
    SUPERVISE_DROP,     /* the same, which is closed for good */
    SUPERVISE_LIMITS,   /* index: crashes_max; value: crash_window_ms; end_ms; stop_ms; format: of
                           the log */
    SUPERVISE_CRASH,    /* call: whose it is, without a plugin where it is nobody's */
    SUPERVISE_STOPPING, /* its end is wanted */
    SUPERVISE_RELEASE,  /* name: a plugin whose quarantine is lifted */
    SUPERVISE_STARTING, /* the manifest is read; index: start_timeout_ms */
    SUPERVISE_FAILED,   /* it cannot serve, and has said why */
    /* to the host */
    SUPERVISE_SOCKET,     /* as SUPERVISE_KEEP */
    SUPERVISE_QUARANTINE, /* name: a plugin; text: why; value: since when, in engine_now_ms() */
    SUPERVISE_END,        /* how the last host has ended: text; index: a last_end's members but its
                             calls, as bits: enum supervise_end; value: when, in engine_now_ms() */
    SUPERVISE_END_CALL,   /* call: one of it */
    SUPERVISE_GO, /* that was all; index: how often the host has been restarted; value: whether
                     it has been said why the last one did not serve */
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

/* -- the host's side; all of it is legal without a parent, also with NULL, and does nothing then -
 */

struct os_link;
struct supervisor_client_given;

/* A host's way to its parent, and what that has given it. Zero at first. Owner: the verb `run`. */
struct supervised {
    struct os_link *link;                        /* NULL: nobody supervises */
    struct supervisor_client_given *sockets;     /* utlist: of earlier hosts, not taken over yet */
    struct supervisor_client_given *quarantines; /* utlist: plugins */
    struct last_end last;
    bool explained;
    uint32_t restarts;
    struct inherited_sockets keeper;
};

/* Hears what the parent has for it. */
bool supervisor_client_begin(struct supervised *parent, const char *link, struct error *error);

/* Who keeps the listening sockets; NULL: nobody. */
const struct inherited_sockets *supervisor_client_sockets(struct supervised *parent);

/* The manifest is read, and the parent learns how long the start may take. */
void supervisor_client_starting(struct supervised *parent, const struct manifest *manifest);
void supervisor_client_failed(
    struct supervised *parent); /* the host cannot serve, which the log explains */

/* The listeners stand: sockets that none of them wanted are closed, and the parent learns the
 * manifest's limits. */
void supervisor_client_ready(struct supervised *parent, const struct manifest *manifest);

bool supervisor_client_is_restart(
    const struct supervised *parent); /* the host takes the place of one that has crashed */
bool supervisor_client_is_explained(
    const struct supervised *parent); /* the log says why that one did not serve */
void supervisor_client_stopping(
    struct supervised *parent); /* the host ends because it was asked to */
void supervisor_client_ends_by_force(
    struct supervised *parent); /* likewise, and the process ends now. [any] */
void supervisor_client_end(struct supervised *parent);

bool supervisor_client_is_quarantined(const struct supervised *parent, const char *plugin);
/* False: it is not in quarantine. */
bool supervisor_client_release(struct supervised *parent, const char *plugin);
void supervisor_client_quarantine_again(struct supervised *parent,
                                        const char *plugin); /* it could not be let in */
void supervisor_client_released(struct supervised *parent,
                                const char *plugin); /* it is let in: the parent learns of it */

/* Adds "supervised", "restarts", "last_end" and "quarantine". */
void supervisor_client_describe(const struct supervised *parent, struct cJSON *status);

/* In a crash: tells the parent, which is the context. [any] */
void supervisor_client_report_crash(void *context, const struct call_info *call);

#endif
