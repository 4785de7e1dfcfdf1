#include "control/supervise.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "control/control.h"
#include "control/guard.h"
#include "control/kept.h"
#include "engine/engine.h"
#include "os/log_writer.h"
#include "os/os_child.h"
#include "os/os_private.h"

enum {
    DELAY_FIRST_MS = 10,
    DELAY_MAX_MS = 400, /* so that a restart takes less than a second, however often it happens */
    DELAY_FAILED_MAX_MS = 5000, /* of one that cannot start, over and over */
    CALM_MS = 10000,            /* without a crash: the next one is the first again */
    CRASHES_MAX_DEFAULT = 3,
    WINDOW_MS_DEFAULT = 60000,
    END_MS_DEFAULT = 10000,
    STOP_MS_DEFAULT = 10000,
    KILL_MS = 1000,        /* after the end that the host itself should have come to */
    FAILED_FIRST_MS = 100, /* before a start is tried again that the system has refused */
    FAILED_MAX_MS = 5000,
    CRASHES_REMEMBERED = 1000,
};

/* A listening socket of the host's, held open. */
struct kept {
    struct kept *prev; /* utlist */
    struct kept *next;
    char name[192];
    uint32_t index;
    intptr_t socket;
};

/* A crash that was laid to a plugin, within the window. */
struct crash {
    struct crash *prev; /* utlist, the oldest first */
    struct crash *next;
    char plugin[64];
    uint64_t at_ms;
};

struct banned {
    struct banned *prev; /* utlist */
    struct banned *next;
    char plugin[64];
    char why[256];
    uint64_t since_ms;
};

struct supervisor {
    const struct control_options *options;
    struct os_child *child; /* NULL between two */
    struct kept *kept;
    struct crash *crashes;
    unsigned crash_count;
    struct banned *banned;
    uint32_t crashes_max;
    uint64_t window_ms;
    uint32_t end_ms;
    uint32_t stop_ms;   /* how long its connections may finish when it stops */
    uint64_t end_by_ms; /* when the child, which is to end, is killed; or 0 */
    bool asked;         /* this one was asked to stop */
    uint32_t restarts;
    bool stopping;
    bool served; /* a host has: from then on there always is to be one */
    bool ready;  /* this one has */
    bool crash_told;
    bool ending;   /* this one's end is wanted */
    bool use_kept; /* this one is started with what was in force last */
    struct os_private *kept_folder;
    uint64_t crashed_ms; /* the last time, or 0 */
    uint32_t delay_ms;   /* before the next start */
};

/* It is killed when it has not ended by then. */
static void end_within(struct supervisor *supervisor, uint64_t ms) {
    uint64_t by_ms = engine_now_ms() + ms;
    if (supervisor->end_by_ms == 0 || by_ms < supervisor->end_by_ms) {
        supervisor->end_by_ms = by_ms;
    }
}

/* A stop ends by itself, as control/guard.h has it: unless the process does not run at all. */
static void expect_stop(struct supervisor *supervisor) {
    uint64_t ms = supervisor->asked ? GUARD_NOW_MS : (uint64_t)supervisor->stop_ms + GUARD_STOP_MS;
    supervisor->asked = true;
    end_within(supervisor, ms + KILL_MS);
}

/* -- what the host says --------------------------------------------------------------------------
 */

static void forget_kept(struct supervisor *supervisor, struct kept *kept) {
    DL_DELETE(supervisor->kept, kept);
    os_child_socket_close(kept->socket);
    alloc_free(kept);
}

static struct kept *find_kept(const struct supervisor *supervisor, const char *name,
                              uint32_t index) {
    struct kept *kept;
    DL_FOREACH(supervisor->kept, kept) {
        if (kept->index == index && strcmp(kept->name, name) == 0) {
            return kept;
        }
    }
    return NULL;
}

static void keep(struct supervisor *supervisor, const struct supervise_message *message,
                 intptr_t socket) {
    struct kept *old = find_kept(supervisor, message->name, message->index);
    struct kept *kept = alloc_zeroed(sizeof(*kept));
    if (old) {
        forget_kept(supervisor, old);
    }
    if (!kept) {
        log_warn(NULL, "supervisor: out of memory: %s will be closed by a crash", message->name);
        os_child_socket_close(socket);
        return;
    }
    snprintf(kept->name, sizeof(kept->name), "%s", message->name);
    kept->index = message->index;
    kept->socket = socket;
    DL_APPEND(supervisor->kept, kept);
}

static void lift(struct supervisor *supervisor, const char *plugin) {
    struct banned *banned;
    struct banned *next;
    DL_FOREACH_SAFE(supervisor->banned, banned, next) {
        if (strcmp(banned->plugin, plugin) == 0) {
            DL_DELETE(supervisor->banned, banned);
            alloc_free(banned);
        }
    }
}

/* Forgets the crashes of a plugin (NULL: of all) that are older than that; returns how many are
 * left of it. */
static unsigned forget_crashes(struct supervisor *supervisor, const char *plugin,
                               uint64_t before_ms) {
    unsigned left = 0;
    struct crash *crash;
    struct crash *next;
    DL_FOREACH_SAFE(supervisor->crashes, crash, next) {
        bool meant = !plugin || strcmp(crash->plugin, plugin) == 0;
        if (meant && crash->at_ms < before_ms) {
            DL_DELETE(supervisor->crashes, crash);
            supervisor->crash_count--;
            alloc_free(crash);
        } else {
            left += meant;
        }
    }
    return left;
}

static void ban(struct supervisor *supervisor, const char *plugin, unsigned count,
                const char *where) {
    struct log_subject subject = {.plugin = plugin};
    struct banned *banned = alloc_zeroed(sizeof(*banned));
    if (!banned) {
        return;
    }
    snprintf(banned->plugin, sizeof(banned->plugin), "%.63s", plugin);
    snprintf(banned->why, sizeof(banned->why), "%u crashes within %llu ms, the last one in %.150s",
             count, (unsigned long long)supervisor->window_ms, where);
    banned->since_ms = engine_now_ms();
    DL_APPEND(supervisor->banned, banned);
    log_error(&subject, "quarantine: %s; its listeners are closed until \"berth release %s\"",
              banned->why, plugin);
}

static void note_crash(struct supervisor *supervisor, const struct supervise_message *message) {
    uint64_t now_ms = engine_now_ms();
    struct crash *crash = message->name[0] ? alloc_zeroed(sizeof(*crash)) : NULL;
    if (!crash) {
        return;
    }
    uint64_t begin_ms = now_ms > supervisor->window_ms ? now_ms - supervisor->window_ms : 0;
    forget_crashes(supervisor, NULL, begin_ms);
    if (supervisor->crash_count == CRASHES_REMEMBERED) {
        forget_crashes(supervisor, NULL, now_ms);
    }
    snprintf(crash->plugin, sizeof(crash->plugin), "%.63s", message->name);
    crash->at_ms = now_ms;
    DL_APPEND(supervisor->crashes, crash);
    supervisor->crash_count++;
    unsigned count = forget_crashes(supervisor, crash->plugin, 0);
    if (count >= supervisor->crashes_max) {
        ban(supervisor, message->name, count, message->text);
        forget_crashes(supervisor, message->name,
                       UINT64_MAX); /* it begins anew when it is let in */
    }
}

static void take_message(struct supervisor *supervisor) {
    struct supervise_message message = {0};
    intptr_t socket = OS_NO_SOCKET;
    if (!os_link_receive(os_child_link(supervisor->child), &message, sizeof(message), &socket, 0)) {
        return;
    }
    message.name[sizeof(message.name) - 1] = '\0';
    message.text[sizeof(message.text) - 1] = '\0';
    struct kept *kept;
    switch (message.kind) {
    case SUPERVISE_KEEP:
        keep(supervisor, &message, socket);
        return;
    case SUPERVISE_DROP:
        kept = find_kept(supervisor, message.name, message.index);
        if (kept) {
            forget_kept(supervisor, kept);
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
        supervisor->crashes_max = message.index;
        supervisor->window_ms = message.value;
        supervisor->end_ms = message.end_ms;
        supervisor->stop_ms = message.stop_ms;
        log_setup(LOG_LEVEL_INFO,
                  message.format == LOG_FORMAT_JSON ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT);
        break;
    case SUPERVISE_CRASH:
        supervisor->crash_told = true;
        end_within(supervisor, supervisor->end_ms);
        note_crash(supervisor, &message);
        break;
    case SUPERVISE_RELEASE:
        lift(supervisor, message.name);
        break;
    default:
        break;
    }
    os_child_socket_close(socket);
}

/* -- one host after the other --------------------------------------------------------------------
 */

static bool tell(struct supervisor *supervisor, const struct supervise_message *message,
                 intptr_t socket) {
    return os_link_send(os_child_link(supervisor->child), message, sizeof(*message), socket);
}

/* All that a new host has to know. It reads while this is written. */
static void brief(struct supervisor *supervisor) {
    const struct kept *kept;
    const struct banned *banned;
    bool told = true;
    DL_FOREACH(supervisor->kept, kept) {
        struct supervise_message message = {.kind = SUPERVISE_SOCKET, .index = kept->index};
        memcpy(message.name, kept->name, sizeof(message.name));
        told = told && tell(supervisor, &message, kept->socket);
    }
    DL_FOREACH(supervisor->banned, banned) {
        struct supervise_message message = {
            .kind = SUPERVISE_QUARANTINE,
            .value = banned->since_ms,
        };
        memcpy(message.name, banned->plugin, sizeof(banned->plugin));
        memcpy(message.text, banned->why, sizeof(message.text));
        told = told && tell(supervisor, &message, OS_NO_SOCKET);
    }
    struct supervise_message go = {.kind = SUPERVISE_GO, .index = supervisor->restarts};
    if (told) {
        tell(supervisor, &go, OS_NO_SOCKET); /* one that has ended already is told of below */
    }
}

static bool start(struct supervisor *supervisor, struct error *error) {
    const struct control_options *options = supervisor->options;
    const struct {
        const char *option;
        const char *value;
    } all[] = {
        {"--manifest", options->manifest},
        {"--ready-file", options->ready_file},
        {"--plugins", options->plugins},
        {"--kept", supervisor->kept_folder ? os_private_path(supervisor->kept_folder) : NULL},
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
    if (supervisor->use_kept) {
        arguments[count++] = "--use-kept";
    }
    arguments[count++] = "--supervised";
    supervisor->child = os_child_start(arguments, error);
    if (!supervisor->child) {
        return error_prefix(error, "starting the host: ");
    }
    brief(supervisor);
    return true;
}

static void pass_on(struct supervisor *supervisor, enum os_child_event event) {
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

/* A crashed host ends when the system has written its report, and may hang in that, holding its
 * sockets; one that stops may be held by the system, or a debugger. Returns how long to wait for
 * it. */
static int see_it_end(struct supervisor *supervisor) {
    uint64_t now_ms = engine_now_ms();
    if (supervisor->end_by_ms == 0) {
        return -1;
    }
    if (now_ms < supervisor->end_by_ms) {
        return (int)(supervisor->end_by_ms - now_ms);
    }
    if (supervisor->crash_told) {
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

static struct os_child_end serve(struct supervisor *supervisor) {
    enum os_child_event event;
    supervisor->end_by_ms = 0;
    supervisor->ready = supervisor->ending = supervisor->crash_told = supervisor->asked = false;
    while ((event = os_child_wait(supervisor->child, see_it_end(supervisor))) != OS_CHILD_ENDED) {
        if (event == OS_CHILD_SAYS) {
            take_message(supervisor);
        } else if (event != OS_CHILD_NOTHING) {
            pass_on(supervisor, event);
        }
    }
    struct os_child_end end = os_child_end(supervisor->child);
    os_child_destroy(supervisor->child);
    supervisor->child = NULL;
    return end;
}

/* Ends that follow each other closely are answered more and more slowly; and those of hosts that
 * cannot even start, with what was in force either, more slowly yet. */
static uint32_t next_delay_ms(struct supervisor *supervisor) {
    uint64_t now_ms = engine_now_ms();
    bool calm = supervisor->crashed_ms == 0 || now_ms - supervisor->crashed_ms > CALM_MS;
    uint32_t max_ms =
        supervisor->ready || !supervisor->use_kept ? DELAY_MAX_MS : DELAY_FAILED_MAX_MS;
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
            pass_on(supervisor, event);
        }
        now_ms = engine_now_ms();
    }
}

/* What is said of an end that nobody wanted. */
static void tell_end(const struct supervisor *supervisor, const struct os_child_end *end,
                     uint32_t delay_ms) {
    if (end->crashed || supervisor->crash_told) {
        log_error(NULL, "supervisor: the host has crashed (%s): it is started again in %u ms",
                  end->text, delay_ms);
    } else if (supervisor->ready) {
        log_error(NULL,
                  "supervisor: the host has ended (%s), and nobody had asked for it: it is started "
                  "again in %u ms",
                  end->text, delay_ms);
    } else {
        log_error(NULL,
                  "supervisor: the host could not start (%s); what it needs to be mended is said "
                  "above: %s in %u ms",
                  end->text,
                  supervisor->use_kept ? "it is tried again"
                                       : "it is started with what was in force before",
                  delay_ms);
    }
}

/* Waits for the host's end. False: it is the last one, and *code what comes of it. */
static bool outlive(struct supervisor *supervisor, int *code) {
    struct os_child_end end = serve(supervisor);
    bool wanted = supervisor->ending || supervisor->stopping;
    bool crashed = end.crashed || supervisor->crash_told;
    *code = end.code;
    if (!crashed && (wanted || !supervisor->served)) {
        return false;
    }
    if (!wanted) {
        uint32_t delay_ms = next_delay_ms(supervisor);
        tell_end(supervisor, &end, delay_ms);
        pause_before_restart(supervisor, delay_ms);
    }
    if (wanted || supervisor->stopping) {
        log_error(NULL, "supervisor: the host has ended (%s) while it was to stop", end.text);
        *code = EXIT_FAILED;
        return false;
    }
    return true;
}

static unsigned count_kept(const struct supervisor *supervisor) {
    unsigned count = 0;
    const struct kept *kept;
    DL_FOREACH(supervisor->kept, kept) {
        count++;
    }
    return count;
}

/* The system may have no room for a process just now. What has served is started as soon as it can
 * be, however long that takes. False: nothing has, or it is to stop. */
static bool start_again(struct supervisor *supervisor) {
    struct error error = {0};
    uint32_t delay_ms = FAILED_FIRST_MS;
    while (!start(supervisor, &error)) {
        if (!supervisor->served) {
            log_error(NULL, "supervisor: %s", error.message);
            return false;
        }
        log_error(NULL,
                  "supervisor: %s: it is tried again in %u ms; %u listening sockets stay open, and "
                  "clients wait",
                  error.message, (unsigned)delay_ms, count_kept(supervisor));
        pause_before_restart(supervisor, delay_ms);
        if (supervisor->stopping) {
            return false;
        }
        delay_ms = delay_ms * 2 < FAILED_MAX_MS ? delay_ms * 2 : FAILED_MAX_MS;
    }
    return true;
}

static int run(struct supervisor *supervisor) {
    int code;
    while (start_again(supervisor)) {
        if (!outlive(supervisor, &code)) {
            return code;
        }
        supervisor->restarts++;
        supervisor->use_kept = supervisor->served && !supervisor->ready && !supervisor->use_kept;
    }
    return EXIT_FAILED;
}

int supervise(const struct control_options *options) {
    struct error error = {0};
    struct supervisor supervisor = {
        .options = options,
        .crashes_max = CRASHES_MAX_DEFAULT,
        .window_ms = WINDOW_MS_DEFAULT,
        .end_ms = END_MS_DEFAULT,
        .stop_ms = STOP_MS_DEFAULT,
        .delay_ms = DELAY_FIRST_MS,
    };
    if (!os_child_init(&error)) {
        log_error(NULL, "supervisor: %s", error.message);
        return EXIT_FAILED;
    }
    if (!log_writer_start(&error)) { /* its thread has the signals blocked that are waited for */
        log_error(NULL, "supervisor: %s", error.message);
        return EXIT_FAILED;
    }
    supervisor.kept_folder = kept_create();
    int code = run(&supervisor);
    os_private_remove(supervisor.kept_folder);
    while (supervisor.kept) {
        forget_kept(&supervisor, supervisor.kept);
    }
    forget_crashes(&supervisor, NULL, UINT64_MAX);
    while (supervisor.banned) {
        lift(&supervisor, supervisor.banned->plugin);
    }
    return code;
}
