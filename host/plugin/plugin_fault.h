/* plugin_fault.h: a plugin has broken a rule of the ABI, and the host has noticed in time.
 *
 * The log names plugin, listener, callback and connection, the listener counts it, and the
 * connection ends with BERTH_CLOSED_FAULT: its stream is not what the plugin takes it for.
 *
 * Threads: that of the call, any. */
#ifndef BERTH_HOST_PLUGIN_PLUGIN_FAULT_H
#define BERTH_HOST_PLUGIN_PLUGIN_FAULT_H

#include <stdbool.h>

#include "base/macros.h"
#include "berth/connection.h"

struct connection;
struct listener;

/* `connection`: whose stream it is about; NULL: that of the callback which this thread is in, if
 * it is one of a connection. */
void plugin_fault(struct connection *connection, const char *format, ...) BERTH_PRINTF(2, 3);

/* The same where there is a listener and no connection (datagrams). */
void plugin_fault_of_listener(struct listener *listener, const char *format, ...)
    BERTH_PRINTF(2, 3);

/* For the tools of plugin authors: is told of each fault in place of the log. NULL: the log is. */
typedef void plugin_fault_fn(const char *text);
void plugin_faults_follow(plugin_fault_fn *told);

/* Whether a service of [conn] is called for the connection on the connection's own thread. On
 * another one nothing of the connection may be touched, and it is a fault of the callback that the
 * thread is in. */
bool plugin_check_thread(const struct berth_conn *conn, const char *service);

#endif
