#include "control/supervise.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "control/control.h"
#include "control/guard.h"
#include "control/last_end.h"
#include "control/last_good_config.h"
#include "control/quarantine.h"
#include "engine/engine.h"
#include "manifest/manifest.h"
#include "os/log_writer.h"
#include "os/os_child.h"
#include "os/os_private.h"
#include "plugin/call_page.h"

enum {
    DELAY_FIRST_MS = 10,
    DELAY_MAX_MS = 400, /* so that a restart takes less than a second, however often it happens */
    DELAY_FAILED_MAX_MS = 5000, /* the same for a host that fails to start again and again */
    CALM_MS = 10000, /* after this time without a crash, the next one counts as the first */
    CRASHES_MAX_DEFAULT = 3,
    WINDOW_MS_DEFAULT = 60000,
    END_MS_DEFAULT = 10000,
    STOP_MS_DEFAULT = 10000,
    KILL_MS = 1000,        /* added to the time in which the host should end by itself */
    FAILED_FIRST_MS = 100, /* before a start that the system has refused is tried again */
    FAILED_MAX_MS = 5000,
    CALLS_TEXT_BYTES = 3072,
};

/* A duplicate of a listening socket of the host. */
struct held_socket {
    struct held_socket *prev; /* utlist */
    struct held_socket *next;
    char name[192];
    uint32_t index;
    intptr_t socket;
};

struct supervisor {
    const struct command *options;
    struct os_child *child; /* NULL between two hosts */
    struct held_socket *held;
    struct quarantine quarantine;
    struct last_end last;  /* the end of this host, or of the previous one */
    struct last_end shown; /* the last end, except for starts that have reported why they failed */
    uint32_t end_ms;
    uint32_t stop_ms;   /* how long the host's connections may take to finish when it stops */
    uint64_t end_by_ms; /* when the child, which has to end, is killed; or 0 */
    uint32_t start_timeout_ms; /* 0: it may take any time to be ready */
    uint64_t started_ms;
    bool asked; /* this host was asked to stop */
    uint32_t restarts;
    bool stopping;
    bool served; /* a host has served: from then on a host is always restarted */
    bool ready;  /* this host is ready */
    bool crash_notified;
    bool explained;     /* it is logged why this host does not serve */
    bool too_slow;      /* this host was killed because it did not become ready in time */
    bool ending;        /* this host ends because it was asked to */
    bool use_last_good; /* this host is started with the last good config */
    struct os_private *last_good_folder;
    uint64_t crashed_ms; /* the last time, or 0 */
    uint32_t delay_ms;   /* before the next start */
};

/* The child is killed if it has not ended by then. */
static void supervise_end_within(struct supervisor *supervisor, uint64_t ms) {
    uint64_t by_ms = engine_now_ms() + ms;
    if (supervisor->end_by_ms == 0 || by_ms < supervisor->end_by_ms) {
        supervisor->end_by_ms = by_ms;
    }
}

/* A stop ends by itself (control/guard.h), unless the process does not run at all. */
static void expect_stop(struct supervisor *supervisor) {
    uint64_t ms = supervisor->asked ? GUARD_NOW_MS : (uint64_t)supervisor->stop_ms + GUARD_STOP_MS;
    supervisor->asked = true;
    supervise_end_within(supervisor, ms + KILL_MS);
}

/* The subject of a log line about the last end. */
static struct log_subject supervise_subject_of(const struct last_end *last) {
    const struct call_info *call = &last->calls[0];
    return (struct log_subject){
        .plugin = last->attributed ? call->plugin : NULL,
        .listener = last->attributed && call->listener[0] != '\0' ? call->listener : NULL,
    };
}

/* -- messages from the host ------------------------------------------------ */

static void supervise_release_held(struct supervisor *supervisor, struct held_socket *held) {
    DL_DELETE(supervisor->held, held);
    os_child_socket_close(held->socket);
    alloc_free(held);
}

static struct held_socket *supervise_find_held(const struct supervisor *supervisor,
                                               const char *name, uint32_t index) {
    struct held_socket *held;
    DL_FOREACH(supervisor->held, held) {
        if (held->index == index && strcmp(held->name, name) == 0) {
            return held;
        }
    }
    return NULL;
}

static void supervise_hold_socket(struct supervisor *supervisor,
                                  const struct supervise_message *message, intptr_t socket) {
    struct held_socket *old = supervise_find_held(supervisor, message->name, message->index);
    struct held_socket *held = alloc_zeroed(sizeof(*held));
    if (old) {
        supervise_release_held(supervisor, old);
    }
    if (!held) {
        log_warn(NULL, "supervisor: out of memory: %s will be closed by a crash", message->name);
        os_child_socket_close(socket);
        return;
    }
    snprintf(held->name, sizeof(held->name), "%s", message->name);
    held->index = message->index;
    held->socket = socket;
    DL_APPEND(supervisor->held, held);
}

/* Takes the host's report of its crash. Code of plugins may have overwritten its memory. */
static void note_report(struct supervisor *supervisor, struct call_info *call) {
    call->plugin[sizeof(call->plugin) - 1] = '\0';
    call->version[sizeof(call->version) - 1] = '\0';
    call->listener[sizeof(call->listener) - 1] = '\0';
    call->callback[sizeof(call->callback) - 1] = '\0';
    supervisor->last = (struct last_end){.reported = true, .total = 1, .count = 1};
    supervisor->last.calls[0] = *call;
    supervisor->last.attributed = call->plugin[0] != '\0';
    quarantine_note(&supervisor->quarantine, call);
}

/* The host has sent no report: reads its notes. */
static void read_notes(struct supervisor *supervisor, enum os_end_by by) {
    struct calls_seen seen = {0};
    void *copy = alloc_zeroed(call_page_bytes());
    supervisor->last = (struct last_end){0};
    if (copy && os_child_shared_copy(supervisor->child, copy, call_page_bytes())) {
        call_page_read(copy, &seen);
    }
    alloc_free(copy);
    last_end_judge(&supervisor->last, &seen, by);
}

static void take_message(struct supervisor *supervisor) {
    struct supervise_message message = {0};
    intptr_t socket = OS_NO_SOCKET;
    if (!os_link_receive(os_child_link(supervisor->child), &message, sizeof(message), &socket, 0)) {
        return;
    }
    message.name[sizeof(message.name) - 1] = '\0';
    message.text[sizeof(message.text) - 1] = '\0';
    struct held_socket *held;
    switch (message.kind) {
    case SUPERVISE_KEEP:
        supervise_hold_socket(supervisor, &message, socket);
        return;
    case SUPERVISE_DROP:
        held = supervise_find_held(supervisor, message.name, message.index);
        if (held) {
            supervise_release_held(supervisor, held);
        }
        break;
    case SUPERVISE_STOPPING:
        supervisor->ending = true;
        if (!supervisor->asked) {
            expect_stop(supervisor);
        }
        break;
    case SUPERVISE_LIMITS:
        supervisor->served = supervisor->ready = true;
        supervisor->quarantine.crashes_max = message.index;
        supervisor->quarantine.window_ms = message.value;
        supervisor->end_ms = message.end_ms;
        supervisor->stop_ms = message.stop_ms;
        log_setup(LOG_LEVEL_INFO,
                  message.format == LOG_FORMAT_JSON ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT);
        break;
    case SUPERVISE_CRASH:
        supervisor->crash_notified = supervisor->explained = true;
        supervise_end_within(supervisor, supervisor->end_ms);
        note_report(supervisor, &message.call);
        break;
    case SUPERVISE_RELEASE:
        quarantine_lift(&supervisor->quarantine, message.name);
        break;
    case SUPERVISE_STARTING:
        supervisor->start_timeout_ms = message.index;
        break;
    case SUPERVISE_FAILED:
        supervisor->explained = true;
        break;
    default:
        break;
    }
    os_child_socket_close(socket);
}

/* -- starting and ending hosts --------------------------------------------- */

static bool supervise_tell(struct supervisor *supervisor, const struct supervise_message *message,
                           intptr_t socket) {
    return os_link_send(os_child_link(supervisor->child), message, sizeof(*message), socket);
}

static bool tell_last_end(struct supervisor *supervisor) {
    const struct last_end *last = &supervisor->shown;
    struct supervise_message message = {
        .kind = SUPERVISE_END,
        .index = (last->reported ? SUPERVISE_END_REPORTED : 0u) |
                 (last->attributed ? SUPERVISE_END_ATTRIBUTED : 0u),
        .value = last->at_ms,
    };
    if (!last->known) {
        return true;
    }
    snprintf(message.text, sizeof(message.text), "%s", last->how);
    bool sent = supervise_tell(supervisor, &message, OS_NO_SOCKET);
    for (uint32_t i = 0; sent && i < last->count; i++) {
        message = (struct supervise_message){.kind = SUPERVISE_END_CALL, .call = last->calls[i]};
        sent = supervise_tell(supervisor, &message, OS_NO_SOCKET);
    }
    return sent;
}

/* Sends the state that a new host needs. The host reads while this is written. */
static void supervise_send_state(struct supervisor *supervisor) {
    const struct held_socket *held;
    const struct banned *banned;
    bool sent = true;
    DL_FOREACH(supervisor->held, held) {
        struct supervise_message message = {.kind = SUPERVISE_SOCKET, .index = held->index};
        memcpy(message.name, held->name, sizeof(message.name));
        sent = sent && supervise_tell(supervisor, &message, held->socket);
    }
    DL_FOREACH(supervisor->quarantine.banned, banned) {
        struct supervise_message message = {
            .kind = SUPERVISE_QUARANTINE,
            .value = banned->since_ms,
        };
        memcpy(message.name, banned->plugin, sizeof(banned->plugin));
        memcpy(message.text, banned->why, sizeof(message.text));
        sent = sent && supervise_tell(supervisor, &message, OS_NO_SOCKET);
    }
    struct supervise_message go = {
        .kind = SUPERVISE_GO, .index = supervisor->restarts, .value = supervisor->explained};
    if (sent && tell_last_end(supervisor)) {
        supervise_tell(supervisor, &go,
                       OS_NO_SOCKET); /* a host that has ended already is handled below */
    }
}

static bool supervise_start(struct supervisor *supervisor, struct error *error) {
    const struct command *options = supervisor->options;
    const struct {
        const char *option;
        const char *value;
    } all[] = {
        {"--manifest", options->manifest},
        {"--ready-file", options->ready_file},
        {"--plugins", options->plugins},
        {"--kept",
         supervisor->last_good_folder ? os_private_path(supervisor->last_good_folder) : NULL},
    };
    const char *arguments[16] = {"run"};
    size_t count = 1;
    for (size_t i = 0; i < ARRAY_COUNT(all); i++) {
        if (all[i].value) {
            arguments[count++] = all[i].option;
            arguments[count++] = all[i].value;
        }
    }
    if (options->watch) {
        arguments[count++] = "--watch";
    }
    if (supervisor->use_last_good) {
        arguments[count++] = "--use-kept";
    }
    arguments[count++] = "--supervised";
    supervisor->started_ms = engine_now_ms();
    supervisor->child = os_child_start(arguments, call_page_bytes(), error);
    if (!supervisor->child) {
        return error_prefix(error, "starting the host: ");
    }
    supervise_send_state(supervisor);
    return true;
}

static void supervise_pass_on(struct supervisor *supervisor, enum os_child_event event) {
    if (event == OS_CHILD_STOP) {
        supervisor->stopping = true;
    }
    if (supervisor->child && event == OS_CHILD_STOP) {
        expect_stop(supervisor);
    }
    if (supervisor->child) {
        os_child_ask(supervisor->child, event == OS_CHILD_STOP ? OS_SIGNAL_STOP : OS_SIGNAL_RELOAD);
    }
}

/* Kills a host whose start hangs, because all clients wait for it. */
static void end_slow_start(struct supervisor *supervisor) {
    char calls[CALLS_TEXT_BYTES];
    supervisor->too_slow = true;
    read_notes(supervisor, OS_END_BY_ITSELF); /* any open call blocks the start */
    last_end_describe(&supervisor->last, calls, sizeof(calls));
    struct last_end *last = &supervisor->last;
    snprintf(last->how, sizeof(last->how), "not ready within %u ms", supervisor->start_timeout_ms);
    struct log_subject subject = supervise_subject_of(last);
    log_error(&subject,
              "supervisor: the host is not ready within %u ms (host.start_timeout_ms)%s: it is "
              "killed",
              supervisor->start_timeout_ms, calls);
    supervisor->explained = last->count > 0;
    os_child_kill(supervisor->child);
}

/* Returns how long to wait for the start. */
static int supervise_await_start(struct supervisor *supervisor, uint64_t now_ms) {
    uint64_t by_ms = supervisor->started_ms + supervisor->start_timeout_ms;
    if (supervisor->ready || supervisor->start_timeout_ms == 0 || supervisor->too_slow) {
        return -1;
    }
    if (now_ms < by_ms) {
        return (int)(by_ms - now_ms);
    }
    end_slow_start(supervisor);
    return -1;
}

/* A crashed host ends when the system has written its report, and may hang in that, holding its
 * sockets. A host that stops may be blocked by the system, or by a debugger. Returns how long to
 * wait for its end. */
static int supervise_await_end(struct supervisor *supervisor) {
    uint64_t now_ms = engine_now_ms();
    if (supervisor->end_by_ms == 0) {
        return supervise_await_start(supervisor, now_ms);
    }
    if (now_ms < supervisor->end_by_ms) {
        return (int)(supervisor->end_by_ms - now_ms);
    }
    if (supervisor->crash_notified) {
        log_error(NULL,
                  "supervisor: the host has crashed and does not end: it is killed after %u ms",
                  supervisor->end_ms);
    } else {
        log_error(NULL, "supervisor: the host was to stop and does not end: it is killed");
    }
    os_child_kill(supervisor->child);
    supervisor->end_by_ms = 0;
    return -1;
}

/* A plugin that hangs a start with the last good config, too, would hang every start. */
static void supervise_note_culprit(struct supervisor *supervisor, const struct call_info *call) {
    if (supervisor->too_slow && supervisor->use_last_good) {
        quarantine_ban(&supervisor->quarantine, call);
    } else {
        quarantine_note(&supervisor->quarantine, call);
    }
}

static bool has_crashed(const struct supervisor *supervisor, const struct os_child_end *end) {
    return end->crashed || supervisor->crash_notified || supervisor->last.attributed;
}

/* Determines how and why the host ended, if that is not known yet. */
static void judge_end(struct supervisor *supervisor, const struct os_child_end *end) {
    struct last_end *last = &supervisor->last;
    if (!supervisor->crash_notified && !supervisor->too_slow) {
        read_notes(supervisor, end->by);
    }
    if (!supervisor->crash_notified && last->attributed) {
        supervisor->explained = true;
        supervise_note_culprit(supervisor, &last->calls[0]);
    }
    if (!supervisor->too_slow) {
        snprintf(last->how, sizeof(last->how), "%s", end->text);
    }
    last->known = true;
    last->at_ms = engine_now_ms();
    bool refused = !supervisor->ready && supervisor->explained && !supervisor->too_slow;
    if (!refused || has_crashed(supervisor, end)) {
        supervisor->shown = *last;
    }
}

static struct os_child_end supervise_serve(struct supervisor *supervisor) {
    enum os_child_event event;
    supervisor->end_by_ms = 0;
    supervisor->ready = supervisor->ending = supervisor->crash_notified = supervisor->asked = false;
    supervisor->explained = supervisor->too_slow = false;
    while ((event = os_child_wait(supervisor->child, supervise_await_end(supervisor))) !=
           OS_CHILD_ENDED) {
        if (event == OS_CHILD_SAYS) {
            take_message(supervisor);
        } else if (event != OS_CHILD_NOTHING) {
            supervise_pass_on(supervisor, event);
        }
    }
    struct os_child_end end = os_child_end(supervisor->child);
    judge_end(supervisor, &end);
    os_child_destroy(supervisor->child);
    supervisor->child = NULL;
    return end;
}

/* The delay grows when ends follow each other closely, and grows further for hosts that cannot
 * even start, not even with the last good config. */
static uint32_t next_delay_ms(struct supervisor *supervisor) {
    uint64_t now_ms = engine_now_ms();
    bool calm = supervisor->crashed_ms == 0 || now_ms - supervisor->crashed_ms > CALM_MS;
    uint32_t max_ms =
        supervisor->ready || !supervisor->use_last_good ? DELAY_MAX_MS : DELAY_FAILED_MAX_MS;
    uint32_t doubled = supervisor->delay_ms * 2 < max_ms ? supervisor->delay_ms * 2 : max_ms;
    supervisor->delay_ms = calm ? DELAY_FIRST_MS : doubled;
    supervisor->crashed_ms = now_ms;
    return supervisor->delay_ms;
}

static void pause_before_restart(struct supervisor *supervisor, uint32_t delay_ms) {
    uint64_t now_ms = engine_now_ms();
    uint64_t until_ms = now_ms + delay_ms;
    while (!supervisor->stopping && now_ms < until_ms) {
        enum os_child_event event = os_child_wait(NULL, (int)(until_ms - now_ms));
        if (event != OS_CHILD_NOTHING) {
            supervise_pass_on(supervisor, event);
        }
        now_ms = engine_now_ms();
    }
}

/* The text that says what the supervisor does next. */
static const char *supervise_decide_restart(const struct supervisor *supervisor) {
    return supervisor->ready || !supervisor->served ? "it is started again"
           : supervisor->use_last_good              ? "it is tried again"
                                                    : "it is started with what was in force before";
}

/* Logs an end that was not requested. */
static void supervise_tell_end(const struct supervisor *supervisor, const struct os_child_end *end,
                               uint32_t delay_ms) {
    char calls[CALLS_TEXT_BYTES];
    const char *follows = supervise_decide_restart(supervisor);
    struct log_subject subject = supervise_subject_of(&supervisor->last);
    last_end_describe(&supervisor->last, calls, sizeof(calls));
    if (supervisor->too_slow) {
        log_error(&subject, "supervisor: the host did not become ready: %s in %u ms", follows,
                  delay_ms);
    } else if (has_crashed(supervisor, end)) {
        log_error(&subject, "supervisor: the host has crashed (%s)%s: %s in %u ms", end->text,
                  calls, follows, delay_ms);
    } else if (supervisor->ready) {
        log_error(NULL,
                  "supervisor: the host has ended (%s)%s, and nobody had asked for it: %s in %u ms",
                  end->text, calls, follows, delay_ms);
    } else if (supervisor->explained) {
        log_error(NULL,
                  "supervisor: the host could not start (%s); what it needs to be mended is said "
                  "above: %s in %u ms",
                  end->text, follows, delay_ms);
    } else {
        log_error(NULL,
                  "supervisor: the host has ended (%s)%s before it was ready, and has not said "
                  "why: %s in %u ms",
                  end->text, calls, follows, delay_ms);
    }
}

/* The first host has ended before it served: there is no last good config. */
static void tell_first_end(const struct supervisor *supervisor, const struct os_child_end *end,
                           int *code) {
    if (supervisor->too_slow) {
        *code = EXIT_FAILED; /* logged already */
    } else if (!supervisor->explained && !supervisor->ending && !supervisor->stopping) {
        log_error(NULL, "supervisor: the host has ended (%s) before it was ready", end->text);
        *code = end->code != EXIT_FINE ? end->code : EXIT_FAILED;
    }
}

/* Waits for the host's end. False: it was the last host, and *code is the exit code. */
static bool supervise_handle_exit(struct supervisor *supervisor, int *code) {
    char calls[CALLS_TEXT_BYTES];
    struct os_child_end end = supervise_serve(supervisor);
    bool wanted = supervisor->ending || supervisor->stopping;
    bool crashed = has_crashed(supervisor, &end);
    *code = end.code;
    if (!supervisor->served && (!crashed || supervisor->too_slow)) {
        tell_first_end(supervisor, &end, code);
        return false;
    }
    if (!crashed && wanted) {
        return false;
    }
    if (!wanted) {
        uint32_t delay_ms = next_delay_ms(supervisor);
        supervise_tell_end(supervisor, &end, delay_ms);
        pause_before_restart(supervisor, delay_ms);
    }
    if (wanted || supervisor->stopping) {
        last_end_describe(&supervisor->last, calls, sizeof(calls));
        log_error(NULL, "supervisor: the host has ended (%s)%s while it was to stop", end.text,
                  calls);
        *code = EXIT_FAILED;
        return false;
    }
    return true;
}

static unsigned supervise_count_held(const struct supervisor *supervisor) {
    unsigned count = 0;
    const struct held_socket *held;
    DL_FOREACH(supervisor->held, held) {
        count++;
    }
    return count;
}

/* The system may be unable to create a process now. A host that has served is started again as
 * soon as possible, however long that takes. False: no host has served, or the supervisor has to
 * stop. */
static bool start_again(struct supervisor *supervisor) {
    struct error error = {0};
    uint32_t delay_ms = FAILED_FIRST_MS;
    while (!supervise_start(supervisor, &error)) {
        if (!supervisor->served) {
            log_error(NULL, "supervisor: %s", error.message);
            return false;
        }
        log_error(NULL,
                  "supervisor: %s: it is tried again in %u ms; %u listening sockets stay open, and "
                  "clients wait",
                  error.message, (unsigned)delay_ms, supervise_count_held(supervisor));
        pause_before_restart(supervisor, delay_ms);
        if (supervisor->stopping) {
            return false;
        }
        delay_ms = delay_ms * 2 < FAILED_MAX_MS ? delay_ms * 2 : FAILED_MAX_MS;
    }
    return true;
}

static int supervise_run(struct supervisor *supervisor) {
    int code;
    while (start_again(supervisor)) {
        if (!supervise_handle_exit(supervisor, &code)) {
            return code;
        }
        supervisor->restarts++;
        supervisor->use_last_good =
            supervisor->served && !supervisor->ready && !supervisor->use_last_good;
    }
    return EXIT_FAILED;
}

int supervise(const struct command *options) {
    struct error error = {0};
    struct supervisor supervisor = {
        .options = options,
        .quarantine = {.crashes_max = CRASHES_MAX_DEFAULT, .window_ms = WINDOW_MS_DEFAULT},
        .start_timeout_ms = MANIFEST_START_TIMEOUT_MS,
        .end_ms = END_MS_DEFAULT,
        .stop_ms = STOP_MS_DEFAULT,
        .delay_ms = DELAY_FIRST_MS,
    };
    if (!os_child_init(&error)) {
        log_error(NULL, "supervisor: %s", error.message);
        return EXIT_FAILED;
    }
    if (!log_writer_start(&error)) { /* its thread must inherit the blocked signals */
        log_error(NULL, "supervisor: %s", error.message);
        return EXIT_FAILED;
    }
    supervisor.last_good_folder = last_good_config_create();
    int code = supervise_run(&supervisor);
    os_private_remove(supervisor.last_good_folder);
    while (supervisor.held) {
        supervise_release_held(&supervisor, supervisor.held);
    }
    quarantine_fini(&supervisor.quarantine);
    return code;
}
