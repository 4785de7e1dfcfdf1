#include "plugin/plugin_fault.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/log.h"
#include "net/conn/connection.h"
#include "net/conn/listener_core.h"
#include "net/conn/worker_core.h"
#include "plugin/callback_guard.h"

enum { FAULT_TEXT_MAX = 256 };

/* The callback that this thread is in. A thread of the plugin's own is in none. */
static const char *callback_name(const struct plugin_thread *thread) {
    return plugin_thread_calls(thread)
               ? plugin_callback_name(atomic_load(&thread->record->callback))
               : "none (a thread of its own)";
}

static struct connection *connection_of_call(const struct plugin_thread *thread) {
    /* The thread that is in a callback of a connection is the connection's own. */
    return plugin_thread_calls(thread)
               ? (struct connection *)(uintptr_t)atomic_load(&thread->connection)
               : NULL;
}

static plugin_fault_fn *fault_follower; /* of the devkit; NULL in a host */

void plugin_faults_follow(plugin_fault_fn *told) {
    fault_follower = told;
}

static void plugin_fault_tell(const struct log_subject *subject,
                              const struct connection *connection, const char *text) {
    const char *callback = callback_name(&plugin_thread);
    if (fault_follower) {
        fault_follower(text);
    } else if (connection) {
        log_limited(LOG_KIND_FAULT, LOG_LEVEL_ERROR, subject,
                    "fault of the plugin: %s, in callback %s; connection %llu is cut", text,
                    callback, (unsigned long long)connection->public.id);
    } else {
        log_limited(LOG_KIND_FAULT, LOG_LEVEL_ERROR, subject,
                    "fault of the plugin: %s, in callback %s", text, callback);
    }
}

void plugin_fault(struct connection *connection, const char *format, ...) {
    char text[FAULT_TEXT_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    connection = connection ? connection : connection_of_call(&plugin_thread);
    if (connection) {
        char peer[BERTH_ADDRESS_TEXT_MAX];
        struct log_subject subject = connection_subject(connection, peer);
        listener_count(&connection_listener(connection)->counters.plugin_faults);
        plugin_fault_tell(&subject, connection, text);
        connection_end(connection, BERTH_CLOSED_FAULT, true);
        return;
    }
    const struct plugin_stats *stats = callback_guard_stats();
    struct log_subject subject = {
        .plugin = stats ? stats->id : NULL,
        .listener = stats ? atomic_load(&plugin_thread.record->listener) : NULL,
    };
    plugin_fault_tell(&subject, NULL, text);
}

bool plugin_check_thread(const struct berth_conn *conn, const char *service) {
    if (conn && connection_worker((const struct connection *)conn) == worker_current()) {
        return true;
    }
    plugin_fault(NULL, "%s() of %s", service,
                 conn ? "a connection, on a thread that is not the connection's" : "no connection");
    return false;
}

void plugin_fault_of_listener(struct listener *listener, const char *format, ...) {
    char text[FAULT_TEXT_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    listener_count(&listener->counters.plugin_faults);
    plugin_fault_tell(&listener->subject, NULL, text);
}
