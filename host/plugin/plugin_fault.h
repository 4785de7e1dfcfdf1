/* plugin_fault.h: a plugin has broken a rule of the ABI, and the host has detected it before harm
 * was done.
 *
 * The log names plugin, listener, callback and connection, the listener counts it, and the
 * connection ends with BERTH_CLOSED_FAULT: its stream is not in the state that the plugin assumes.
 *
 * Threads: that of the call, any. */
#ifndef BERTH_HOST_PLUGIN_PLUGIN_FAULT_H
#define BERTH_HOST_PLUGIN_PLUGIN_FAULT_H

#include <stdbool.h>

#include "base/macros.h"
#include "berth/connection.h"

struct connection;
struct listener;

/* `connection`: the one that the fault concerns; NULL: the connection of the callback that this
 * thread is in, if it has one. */
void plugin_fault(struct connection *connection, const char *format, ...) BERTH_PRINTF(2, 3);

/* The same for a listener without a connection (datagrams). */
void plugin_fault_of_listener(struct listener *listener, const char *format, ...)
    BERTH_PRINTF(2, 3);

/* For the devkit: gets each fault instead of the log. NULL: the log gets it. */
typedef void plugin_fault_fn(const char *text);
void plugin_faults_follow(plugin_fault_fn *told);

/* Whether a service of [conn] is called for the connection on the connection's own thread. On
 * another thread the connection must not be touched, and the call is a fault of the callback that
 * the thread is in. */
bool plugin_check_thread(const struct berth_conn *conn, const char *service);

#endif
