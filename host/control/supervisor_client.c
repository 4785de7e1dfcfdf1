/* The host's side of --supervise. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/alloc.h"
#include "base/error.h"
#include "control/last_end.h"
#include "control/supervise.h"
#include "engine/engine.h"
#include "manifest/json.h"
#include "manifest/manifest.h"
#include "os/os_child.h"
#include "plugin/crash_report.h"

enum { BRIEFING_MS = 10000 };

/* A socket of an earlier host, not taken over yet; or a plugin in quarantine. */
struct supervisor_client_given {
    struct supervisor_client_given *prev; /* utlist */
    struct supervisor_client_given *next;
    struct supervise_message message;
    intptr_t socket;
    bool lifted; /* of a quarantine */
};

static bool has_parent(const struct supervised *parent) {
    return parent && parent->link;
}

/* -- sockets --------------------------------------------------------------- */

static intptr_t supervisor_client_take(void *context, const char *name, unsigned index) {
    struct supervised *parent = context;
    struct supervisor_client_given *given;
    DL_FOREACH(parent->sockets, given) {
        if (given->message.index == index && strcmp(given->message.name, name) == 0) {
            intptr_t socket = given->socket;
            DL_DELETE(parent->sockets, given);
            alloc_free(given);
            return socket;
        }
    }
    return OS_NO_SOCKET;
}

static void supervisor_client_say(struct supervised *parent, enum supervise_kind kind,
                                  const char *name, unsigned index, intptr_t socket) {
    struct supervise_message message = {.kind = kind, .index = index};
    snprintf(message.name, sizeof(message.name), "%s", name);
    os_link_send(parent->link, &message, sizeof(message), socket);
}

static void supervisor_client_keep(void *context, const char *name, unsigned index,
                                   intptr_t socket) {
    supervisor_client_say(context, SUPERVISE_KEEP, name, index, socket);
}

static void supervisor_client_drop(void *context, const char *name, unsigned index) {
    supervisor_client_say(context, SUPERVISE_DROP, name, index, OS_NO_SOCKET);
}

const struct inherited_sockets *supervisor_client_sockets(struct supervised *parent) {
    if (!has_parent(parent)) {
        return NULL;
    }
    parent->keeper = (struct inherited_sockets){supervisor_client_take, supervisor_client_keep,
                                                supervisor_client_drop, parent};
    return &parent->keeper;
}

/* -- the beginning and the end --------------------------------------------- */

static bool supervisor_client_note(struct supervisor_client_given **list,
                                   const struct supervise_message *message, intptr_t socket) {
    struct supervisor_client_given *given = alloc_zeroed(sizeof(*given));
    if (!given) {
        os_child_socket_close(socket);
        return false;
    }
    given->message = *message;
    given->socket = socket;
    DL_APPEND(*list, given);
    return true;
}

static void supervisor_client_note_end(struct supervised *parent,
                                       const struct supervise_message *message) {
    struct last_end *last = &parent->last;
    if (message->kind == SUPERVISE_END) {
        last->known = true;
        last->at_ms = message->value;
        last->reported = (message->index & SUPERVISE_END_REPORTED) != 0;
        last->attributed = (message->index & SUPERVISE_END_ATTRIBUTED) != 0;
        snprintf(last->how, sizeof(last->how), "%.63s", message->text);
    } else if (last->count < CALLS_REPORTED_MAX) {
        last->calls[last->count++] = message->call;
    }
}

bool supervisor_client_begin(struct supervised *parent, const char *link, struct error *error) {
    struct supervise_message message;
    intptr_t socket;
    bool noted = true;
    if (!link) {
        return true;
    }
    parent->link = os_link_open(link, error);
    if (!parent->link) {
        return false;
    }
    call_page_start(os_link_shared(parent->link, call_page_bytes()));
    while (os_link_receive(parent->link, &message, sizeof(message), &socket, BRIEFING_MS)) {
        switch (message.kind) {
        case SUPERVISE_GO:
            parent->restarts = message.index;
            parent->explained = message.value != 0;
            return noted || error_set(error, "out of memory");
        case SUPERVISE_END:
        case SUPERVISE_END_CALL:
            supervisor_client_note_end(parent, &message);
            break;
        default:
            noted = supervisor_client_note(message.kind == SUPERVISE_SOCKET ? &parent->sockets
                                                                            : &parent->quarantines,
                                           &message, socket) &&
                    noted;
        }
    }
    return error_set(error, "the supervisor does not speak");
}

static void supervisor_client_close_sockets(struct supervised *parent, bool for_good) {
    while (parent->sockets) {
        struct supervisor_client_given *given = parent->sockets;
        if (for_good) {
            supervisor_client_drop(parent, given->message.name, given->message.index);
        }
        os_child_socket_close(given->socket);
        DL_DELETE(parent->sockets, given);
        alloc_free(given);
    }
}

void supervisor_client_starting(struct supervised *parent, const struct manifest *manifest) {
    if (has_parent(parent)) {
        supervisor_client_say(parent, SUPERVISE_STARTING, "", manifest->host.start_timeout_ms,
                              OS_NO_SOCKET);
    }
}

void supervisor_client_failed(struct supervised *parent) {
    if (has_parent(parent)) {
        supervisor_client_say(parent, SUPERVISE_FAILED, "", 0, OS_NO_SOCKET);
    }
}

void supervisor_client_ready(struct supervised *parent, const struct manifest *manifest) {
    struct supervise_message limits = {
        .kind = SUPERVISE_LIMITS,
        .index = manifest->host.crashes_max,
        .value = manifest->host.crash_window_ms,
        .end_ms = manifest->host.crash_end_ms,
        .stop_ms = manifest->host.drain_timeout_ms,
        .format = manifest->host.log.format,
    };
    if (has_parent(parent)) {
        os_link_send(parent->link, &limits, sizeof(limits), OS_NO_SOCKET);
        supervisor_client_close_sockets(parent, true);
    }
}

bool supervisor_client_is_restart(const struct supervised *parent) {
    return parent && parent->restarts > 0;
}

bool supervisor_client_is_explained(const struct supervised *parent) {
    return parent && parent->explained;
}

void supervisor_client_stopping(struct supervised *parent) {
    if (has_parent(parent)) {
        supervisor_client_say(parent, SUPERVISE_STOPPING, "", 0, OS_NO_SOCKET);
    }
}

void supervisor_client_ends_by_force(struct supervised *parent) {
    struct supervise_message message = {.kind = SUPERVISE_STOPPING};
    if (has_parent(parent)) {
        os_link_last_send(parent->link, &message, sizeof(message));
    }
    call_page_end();
}

void supervisor_client_end(struct supervised *parent) {
    call_page_end();
    supervisor_client_close_sockets(parent, false);
    while (parent->quarantines) {
        struct supervisor_client_given *given = parent->quarantines;
        DL_DELETE(parent->quarantines, given);
        alloc_free(given);
    }
    os_link_close(parent->link);
    parent->link = NULL;
}

/* -- quarantine ------------------------------------------------------------ */

static struct supervisor_client_given *find_quarantine(const struct supervised *parent,
                                                       const char *plugin) {
    struct supervisor_client_given *given;
    DL_FOREACH(parent ? parent->quarantines : NULL, given) {
        if (strcmp(given->message.name, plugin) == 0) {
            return given;
        }
    }
    return NULL;
}

bool supervisor_client_is_quarantined(const struct supervised *parent, const char *plugin) {
    const struct supervisor_client_given *given = find_quarantine(parent, plugin);
    return given && !given->lifted;
}

bool supervisor_client_release(struct supervised *parent, const char *plugin) {
    struct supervisor_client_given *given = find_quarantine(parent, plugin);
    if (!given || given->lifted) {
        return false;
    }
    given->lifted = true;
    return true;
}

void supervisor_client_quarantine_again(struct supervised *parent, const char *plugin) {
    struct supervisor_client_given *given = find_quarantine(parent, plugin);
    if (given) {
        given->lifted = false;
    }
}

void supervisor_client_released(struct supervised *parent, const char *plugin) {
    struct supervisor_client_given *given = find_quarantine(parent, plugin);
    if (given && given->lifted) {
        DL_DELETE(parent->quarantines, given);
        alloc_free(given);
        supervisor_client_say(parent, SUPERVISE_RELEASE, plugin, 0, OS_NO_SOCKET);
    }
}

static cJSON *supervisor_client_describe_call(const struct call_info *call) {
    cJSON *one = cJSON_CreateObject();
    cJSON_AddStringToObject(one, "plugin", call->plugin);
    cJSON_AddStringToObject(one, "version", call->version);
    cJSON_AddNumberToObject(one, "generation", call->generation);
    cJSON_AddStringToObject(one, "callback", call->callback);
    cJSON_AddStringToObject(one, "listener", call->listener);
    cJSON_AddNumberToObject(one, "connection", (double)call->connection);
    cJSON_AddBoolToObject(one, "waited", call->waits);
    return one;
}

static void describe_last_end(const struct supervised *parent, struct cJSON *status) {
    const struct last_end *last = &parent->last;
    if (!last->known) {
        return;
    }
    cJSON *object = cJSON_AddObjectToObject(status, "last_end");
    cJSON_AddStringToObject(object, "how", last->how);
    cJSON_AddNumberToObject(object, "ago_ms", (double)(engine_now_ms() - last->at_ms));
    cJSON_AddBoolToObject(object, "reported", last->reported);
    cJSON_AddStringToObject(object, "plugin", last->attributed ? last->calls[0].plugin : "");
    cJSON *calls = cJSON_AddArrayToObject(object, "calls");
    for (uint32_t i = 0; i < last->count; i++) {
        json_append(calls, supervisor_client_describe_call(&last->calls[i]));
    }
}

void supervisor_client_describe(const struct supervised *parent, struct cJSON *status) {
    uint64_t now_ms = engine_now_ms();
    const struct supervisor_client_given *given;
    cJSON_AddBoolToObject(status, "supervised", has_parent(parent));
    if (!has_parent(parent)) {
        return;
    }
    cJSON_AddNumberToObject(status, "restarts", parent->restarts);
    describe_last_end(parent, status);
    cJSON *list = cJSON_AddArrayToObject(status, "quarantine");
    DL_FOREACH(parent->quarantines, given) {
        cJSON *one = cJSON_CreateObject();
        cJSON_AddStringToObject(one, "plugin", given->message.name);
        cJSON_AddStringToObject(one, "reason", given->message.text);
        cJSON_AddNumberToObject(one, "for_ms", (double)(now_ms - given->message.value));
        json_append(list, one);
    }
}

/* -- crash report ---------------------------------------------------------- */

void supervisor_client_report_crash(void *context, const struct call_info *call) {
    const struct supervised *parent = context;
    struct supervise_message message = {.kind = SUPERVISE_CRASH, .call = *call};
    if (has_parent(parent)) {
        os_link_last_send(parent->link, &message, sizeof(message));
    }
}
