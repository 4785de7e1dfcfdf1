#include "plugin/crash_report.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/address.h"
#include "base/log.h"
#include "net/conn/connection.h"
#include "net/lib/describe.h"
#include "net/run/server.h"
#include "os/os_crash.h"
#include "os/os_process.h"
#include "plugin/callback_guard.h"

enum { TEXT_BYTES = 1024, LINE_BYTES = 2048, CODE_OF_EXIT = 1, FLUSH_MS = 500 };

/* Static, as a signal handler or an exception filter gets no context argument and can only reach
 * static data. */
static struct {
    void (*tell_also)(void *context, const struct call_info *call);
    void *context;
    bool serving;                              /* the host does not intend to end the process */
    bool said;                                 /* the first line has been logged */
    struct log_subject attributed;             /* the subject of that line and all that follow */
    char accused_peer[BERTH_ADDRESS_TEXT_MAX]; /* peer of the reported connection, or "" */
    const struct plugin_thread *hung;          /* the thread that another thread reports as hung */
} report;

static void crash_report_say(const struct log_subject *subject, const char *text) {
    char line[LINE_BYTES];
    os_crash_write(line, log_format(line, sizeof(line), LOG_LEVEL_ERROR, subject, text));
}

/* "callback received of generation 1 (1.2.3), connection 17 from 127.0.0.1:4000" */
static void crash_report_describe_call(const struct plugin_thread *thread, char *text,
                                       size_t size) {
    const struct plugin_stats *stats = atomic_load(&thread->record->stats);
    const struct connection *connection = atomic_load(&thread->connection);
    int used = snprintf(text, size, "callback %s of generation %u (%s)",
                        plugin_callback_name(atomic_load(&thread->record->callback)),
                        callback_guard_generation(thread), stats ? stats->version : "");
    if (connection && used > 0 && (size_t)used < size) {
        address_format(&connection->remote, report.accused_peer, sizeof(report.accused_peer));
        snprintf(text + used, size - (size_t)used, ", connection %llu from %s",
                 (unsigned long long)connection->public.id, report.accused_peer);
    }
}

/* The plugin whose library contains the code; NULL: none. */
static const struct plugin_stats *crash_report_stats_of(const void *code) {
    char file[128];
    os_crash_file(code, file, sizeof(file));
    return file[0] != '\0' ? plugin_stats_of_file(file) : NULL;
}

/* Logs the first line, and notifies `also`. */
static void crash_report_attribute(const struct os_crash *crash, const struct plugin_stats *stats,
                                   const char *listener, const char *callback, uint64_t connection,
                                   const char *where) {
    struct log_subject subject = {
        .plugin = stats ? stats->id : NULL, .listener = listener, .connection = connection};
    struct call_info call = {0};
    char text[TEXT_BYTES];
    char address[32] = "";
    snprintf(call.plugin, sizeof(call.plugin), "%s", stats ? stats->id : "");
    snprintf(call.version, sizeof(call.version), "%s", stats ? stats->version : "");
    snprintf(call.listener, sizeof(call.listener), "%.63s", listener ? listener : "");
    snprintf(call.callback, sizeof(call.callback), "%s", callback);
    call.generation = listener ? listener_label_of(listener)->generation
                      : stats  ? stats->generation
                               : 0;
    call.connection = connection;
    if (crash->has_address) {
        snprintf(address, sizeof(address), " (0x%llx)", (unsigned long long)crash->address);
    }
    snprintf(text, sizeof(text), "crash: %s%s, in %s", crash->what, address, where);
    if (report.accused_peer[0] != '\0' && log_current_format() == LOG_FORMAT_JSON) {
        subject.peer = report.accused_peer; /* the text contains it already */
    }
    report.said = true;
    report.attributed = subject;
    log_flush(FLUSH_MS); /* what came before it */
    crash_report_say(&report.attributed, text);
    if (report.tell_also) {
        report.tell_also(report.context, &call);
    }
}

/* For a thread that is in no callback: the address of the code tells whether it is a plugin or the
 * host. */
static void crash_report_attribute_by_code(const struct os_crash *crash,
                                           const struct plugin_stats *stats) {
    char where[TEXT_BYTES / 2];
    snprintf(where, sizeof(where), "a thread of generation %u (%s)", stats ? stats->generation : 0,
             stats ? stats->version : "");
    crash_report_attribute(crash, stats, NULL, stats ? "(a thread of its own)" : "", 0,
                           stats ? where : "the host itself");
}

static void crash_report_on_crash(const struct os_crash *crash) {
    const struct plugin_thread *thread = crash->elsewhere ? report.hung : &plugin_thread;
    char where[TEXT_BYTES / 2];
    if (plugin_thread_calls(thread)) {
        const struct call_record *record = thread->record;
        crash_report_describe_call(thread, where, sizeof(where));
        crash_report_attribute(crash, atomic_load(&record->stats), atomic_load(&record->listener),
                               plugin_callback_name(atomic_load(&record->callback)),
                               atomic_load(&record->connection), where);
        return;
    }
    const struct plugin_stats *stats = crash_report_stats_of(crash->code);
    if (stats) {
        crash_report_attribute_by_code(crash, stats);
    }
}

static void say_line(void *context, const char *line) {
    char text[TEXT_BYTES];
    snprintf(text, sizeof(text), "crash: %s", line);
    crash_report_say(context, text);
}

/* Logs what was being served. This comes last: memory may be damaged, and this reads more of it. */
static void describe_served(const struct os_crash *crash) {
    const struct plugin_thread *thread = crash->elsewhere ? report.hung : &plugin_thread;
    const struct worker *worker = crash->elsewhere ? NULL : worker_current();
    const struct connection *connection =
        plugin_thread_calls(thread) ? atomic_load(&thread->connection) : NULL;
    if (connection) {
        char line[DESCRIBE_BYTES];
        listener_describe(connection_listener(connection), line, sizeof(line));
        say_line(&report.attributed, line);
        connection_describe_whole(connection, say_line, &report.attributed);
    }
    if (worker) {
        server_describe_whole(worker->server, say_line, &report.attributed);
    }
}

static void on_frames(const struct os_crash *crash) {
    const struct plugin_stats *stats = NULL;
    char where[TEXT_BYTES / 2];
    char text[TEXT_BYTES];
    for (unsigned i = 0; !report.said && !stats && i < crash->frame_count; i++) {
        stats = crash_report_stats_of(crash->frames[i]);
    }
    if (!report.said) {
        crash_report_attribute_by_code(crash, stats);
    }
    for (unsigned i = 0; i < crash->frame_count; i++) {
        os_crash_describe(crash->frames[i], where, sizeof(where));
        snprintf(text, sizeof(text), "crash: #%u %s", i, where);
        crash_report_say(&report.attributed, text);
    }
    describe_served(crash);
}

/* Plugins may end the process by exit(); the host itself calls crash_report_stop() before. */
static void on_exit_of_process(void) {
    struct os_crash crash = {.what = "exit() was called"};
    if (!report.serving) {
        return;
    }
    report.serving = false;
    crash_report_on_crash(&crash);
    crash.frame_count = os_crash_stack(crash.frames, OS_CRASH_FRAMES_MAX);
    on_frames(&crash);
    os_process_exit_now(CODE_OF_EXIT);
}

_Noreturn void crash_report_hung_callback(const struct plugin_thread *thread, uint64_t for_ms) {
    static char what[128];
    snprintf(
        what, sizeof(what),
        "hang: it has not returned for %llu ms (host.hang_timeout_ms), which counts as a crash",
        (unsigned long long)for_ms);
    report.hung = thread;
    os_crash_hung(thread->id, what);
}

_Noreturn void crash_report_hung_host(uintptr_t control_thread, const char *what, uint64_t for_ms) {
    static const struct plugin_thread nobody;
    static char text[256];
    snprintf(text, sizeof(text),
             "hang: the control thread has waited %llu ms (host.hang_timeout_ms) for %s, and no "
             "callback is the reason",
             (unsigned long long)for_ms, what);
    report.hung = &nobody;
    os_crash_hung(control_thread, text);
}

void crash_report_start(void (*also)(void *context, const struct call_info *call), void *context) {
    static const struct os_crash_words words = {crash_report_on_crash, on_frames};
    static bool registered;
    report.tell_also = also;
    report.context = context;
    os_crash_start(&words);
    report.serving = true;
    if (!registered) {
        registered = true;
        atexit(on_exit_of_process);
    }
}

void crash_report_stop(void) {
    report.serving = false;
}

void crash_report_forget(void) {
    report.tell_also = NULL;
}
