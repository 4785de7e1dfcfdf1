/* The host's side of --supervise. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/alloc.h"
#include "base/error.h"
#include "control/supervise.h"
#include "engine/engine.h"
#include "manifest/json.h"
#include "manifest/manifest.h"
#include "net/last_words.h"
#include "os/os_child.h"

enum { BRIEFING_MS = 10000 };

/* A socket of an earlier host, not taken over yet; or a plugin in quarantine. */
struct given {
    struct given *prev; /* utlist */
    struct given *next;
    struct supervise_message message;
    intptr_t socket;
    bool lifted; /* of a quarantine */
};

static struct {
    struct os_link *link; /* NULL: nobody supervises */
    struct given *sockets;
    struct given *quarantines;
    uint32_t restarts;
} parent;

/* -- sockets -------------------------------------------------------------------------------------
 */

static intptr_t take(const char *name, unsigned index) {
    struct given *given;
    DL_FOREACH(parent.sockets, given) {
        if (given->message.index == index && strcmp(given->message.name, name) == 0) {
            intptr_t socket = given->socket;
            DL_DELETE(parent.sockets, given);
            alloc_free(given);
            return socket;
        }
    }
    return OS_NO_SOCKET;
}

static void say(enum supervise_kind kind, const char *name, unsigned index, intptr_t socket) {
    struct supervise_message message = {.kind = kind, .index = index};
    snprintf(message.name, sizeof(message.name), "%s", name);
    os_link_send(parent.link, &message, sizeof(message), socket);
}

static void keep(const char *name, unsigned index, intptr_t socket) {
    say(SUPERVISE_KEEP, name, index, socket);
}

static void drop(const char *name, unsigned index) {
    say(SUPERVISE_DROP, name, index, OS_NO_SOCKET);
}

const struct engine_keeper *supervised_keeper(void) {
    static const struct engine_keeper keeper = {take, keep, drop};
    return parent.link ? &keeper : NULL;
}

/* -- the beginning and the end -------------------------------------------------------------------
 */

static bool note(struct given **list, const struct supervise_message *message, intptr_t socket) {
    struct given *given = alloc_zeroed(sizeof(*given));
    if (!given) {
        os_child_socket_close(socket);
        return false;
    }
    given->message = *message;
    given->socket = socket;
    DL_APPEND(*list, given);
    return true;
}

bool supervised_begin(const char *link, struct error *error) {
    struct supervise_message message;
    intptr_t socket;
    bool noted = true;
    if (!link) {
        return true;
    }
    parent.link = os_link_open(link, error);
    if (!parent.link) {
        return false;
    }
    while (os_link_receive(parent.link, &message, sizeof(message), &socket, BRIEFING_MS)) {
        if (message.kind == SUPERVISE_GO) {
            parent.restarts = message.index;
            return noted || error_set(error, "out of memory");
        }
        noted =
            noted && note(message.kind == SUPERVISE_SOCKET ? &parent.sockets : &parent.quarantines,
                          &message, socket);
    }
    return error_set(error, "the supervisor does not speak");
}

static void close_sockets(bool for_good) {
    while (parent.sockets) {
        struct given *given = parent.sockets;
        if (for_good) {
            drop(given->message.name, given->message.index);
        }
        os_child_socket_close(given->socket);
        DL_DELETE(parent.sockets, given);
        alloc_free(given);
    }
}

void supervised_ready(const struct manifest *manifest) {
    struct supervise_message limits = {
        .kind = SUPERVISE_LIMITS,
        .index = manifest->host.crashes_max,
        .value = manifest->host.crash_window_ms,
        .end_ms = manifest->host.crash_end_ms,
        .stop_ms = manifest->host.drain_timeout_ms,
        .format = manifest->host.log.format,
    };
    if (parent.link) {
        os_link_send(parent.link, &limits, sizeof(limits), OS_NO_SOCKET);
        close_sockets(true);
    }
}

bool supervised_is_restart(void) {
    return parent.restarts > 0;
}

void supervised_stopping(void) {
    if (parent.link) {
        say(SUPERVISE_STOPPING, "", 0, OS_NO_SOCKET);
    }
}

void supervised_ends_by_force(void) {
    struct supervise_message message = {.kind = SUPERVISE_STOPPING};
    if (parent.link) {
        os_link_last_send(parent.link, &message, sizeof(message));
    }
}

void supervised_end(void) {
    close_sockets(false);
    while (parent.quarantines) {
        struct given *given = parent.quarantines;
        DL_DELETE(parent.quarantines, given);
        alloc_free(given);
    }
    os_link_close(parent.link);
    parent.link = NULL;
}

/* -- quarantine ----------------------------------------------------------------------------------
 */

static struct given *find_quarantine(const char *plugin) {
    struct given *given;
    DL_FOREACH(parent.quarantines, given) {
        if (strcmp(given->message.name, plugin) == 0) {
            return given;
        }
    }
    return NULL;
}

bool supervised_is_quarantined(const char *plugin) {
    const struct given *given = find_quarantine(plugin);
    return given && !given->lifted;
}

bool supervised_release(const char *plugin) {
    struct given *given = find_quarantine(plugin);
    if (!given || given->lifted) {
        return false;
    }
    given->lifted = true;
    return true;
}

void supervised_quarantine_again(const char *plugin) {
    struct given *given = find_quarantine(plugin);
    if (given) {
        given->lifted = false;
    }
}

void supervised_released(const char *plugin) {
    struct given *given = find_quarantine(plugin);
    if (given && given->lifted) {
        DL_DELETE(parent.quarantines, given);
        alloc_free(given);
        say(SUPERVISE_RELEASE, plugin, 0, OS_NO_SOCKET);
    }
}

void supervised_describe(struct cJSON *status) {
    uint64_t now_ms = engine_now_ms();
    const struct given *given;
    cJSON_AddBoolToObject(status, "supervised", parent.link != NULL);
    if (!parent.link) {
        return;
    }
    cJSON_AddNumberToObject(status, "restarts", parent.restarts);
    cJSON *list = cJSON_AddArrayToObject(status, "quarantine");
    DL_FOREACH(parent.quarantines, given) {
        cJSON *one = cJSON_CreateObject();
        cJSON_AddStringToObject(one, "plugin", given->message.name);
        cJSON_AddStringToObject(one, "reason", given->message.text);
        cJSON_AddNumberToObject(one, "for_ms", (double)(now_ms - given->message.value));
        json_append(list, one);
    }
}

/* -- last words ----------------------------------------------------------------------------------
 */

void supervised_last_words(const struct last_words *words) {
    struct supervise_message message = {.kind = SUPERVISE_CRASH};
    if (!parent.link) {
        return;
    }
    snprintf(message.name, sizeof(message.name), "%s", words->plugin);
    snprintf(message.text, sizeof(message.text), "callback %s of generation %u, listener \"%s\"",
             words->callback, words->generation, words->listener);
    os_link_last_send(parent.link, &message, sizeof(message));
}
