#include "control/host_channel.h"

#include <stdio.h>

#include "base/error.h"
#include "base/log.h"
#include "control/channel.h"
#include "control/guard.h"
#include "control/identity.h"
#include "control/requests.h"
#include "control/service.h"
#include "control/supervise.h"
#include "engine/engine.h"
#include "os/os.h"

enum {
    ASK_MS = 1000,
    TRY_AGAIN_MS = 50,
    GRACE_MS = 500,    /* for a host that has not noticed its stop request yet */
    SILENCE_MS = 2000, /* for a host that does not answer: it may be about to end */
};

static char *answer_at_once(void *context, const char *text, size_t size) {
    return requests_answer_at_once(context, text, size);
}

static char *host_channel_answer_busy(void *context, const char *text, size_t size,
                                      uint64_t waited_ms) {
    return requests_answer_busy(context, text, size, waited_ms);
}

static bool try_once(struct host_channel *own, struct error *error) {
    const struct channel_user user = {os_signals_wake, answer_at_once, host_channel_answer_busy,
                                      own->service};
    own->channel = channel_open(own->service->runtime.name, &user, error);
    return own->channel != NULL;
}

static bool host_channel_refuse(const char *name, const struct identity *other,
                                struct error *error) {
    const char remedy[] = "give this host another \"host.name\", or \"host.control\": false, which "
                          "does without a channel";
    char taken[ERROR_MESSAGE_MAX / 2];
    snprintf(taken, sizeof(taken), "%.500s", error->message);
    if (!other) {
        return error_set_kind(error, ERROR_KIND_TAKEN, "%s; it does not answer: end it, or %s",
                              taken, remedy);
    }
    return error_set_kind(
        error, ERROR_KIND_TAKEN,
        "%s: \"%.63s\" is process %llu, manifest %.200s; stop that one (\"berth stop "
        "--name %s\"), or %s",
        taken, other->name, (unsigned long long)other->pid, other->manifest, name, remedy);
}

/* Waits for the name, which another process has. True: the host can start, with the channel or
 * with `awaited` set. False: it must not start. */
static bool await_name(struct host_channel *own, struct error *error) {
    struct service *service = own->service;
    const char *name = service->runtime.name;
    uint64_t began_ms = engine_now_ms();
    while (true) {
        struct identity other;
        bool known = identity_of_name(name, ASK_MS, &other);
        if (known && other.stopping) {
            log_info(NULL,
                     "the control channel \"%s\" is that of process %llu, which is stopping: it is "
                     "taken over when that has gone",
                     name, (unsigned long long)other.pid);
            own->awaited = true;
            return true;
        }
        if (engine_now_ms() - began_ms >= (known ? GRACE_MS : SILENCE_MS)) {
            own->awaited = supervisor_client_is_restart(
                service->runtime.supervised); /* its clients wait, so it serves without a channel */
            host_channel_refuse(name, known ? &other : NULL, error);
            if (own->awaited) {
                log_error(NULL, "no control channel until it is free: %s", error->message);
            }
            return own->awaited;
        }
        if (guard_wait(&service->runtime.guard, TRY_AGAIN_MS) == OS_SIGNAL_STOP) {
            service->stop_wanted = true;
        }
        if (try_once(own, error)) {
            return true;
        }
        if (error->kind != ERROR_KIND_TAKEN) {
            return false;
        }
    }
}

bool host_channel_open(struct host_channel *own, struct service *service, bool wanted,
                       struct error *error) {
    *own = (struct host_channel){.service = service};
    if (!wanted || try_once(own, error)) {
        return true;
    }
    if (error->kind == ERROR_KIND_TAKEN) {
        if (await_name(own, error)) {
            return true;
        }
        if (error->kind == ERROR_KIND_TAKEN) {
            return false;
        }
    }
    log_warn(NULL, "no control channel: %s; \"host.control\": false does without", error->message);
    return true;
}

void host_channel_look(struct host_channel *own) {
    struct channel_request *request;
    if (own->awaited && try_once(own, NULL)) {
        own->awaited = false;
        log_info(NULL, "the control channel \"%s\" is taken over", own->service->runtime.name);
    }
    while (own->channel && (request = channel_take(own->channel)) != NULL) {
        char *answer = requests_answer(own->service, request->text, request->size);
        channel_answer(own->channel, request, answer);
    }
}

void host_channel_close(struct host_channel *own) {
    channel_close(own->channel);
    own->channel = NULL;
    own->awaited = false;
}
