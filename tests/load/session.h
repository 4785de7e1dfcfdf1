/* session.h: what one connection does in each mode. */
#ifndef BERTH_LOAD_SESSION_H
#define BERTH_LOAD_SESSION_H

#include <stdint.h>

#include "load.h"
#include "transport.h"

extern const struct transport_events session_events;

/* Begins to connect; the operation of a short-lived one counts from due_ns. */
void session_connect(struct load *load, uint32_t slot, uint64_t due_ns);

/* Begins what may begin: called when that changes. */
void session_go_on(struct load *load, uint32_t slot);

/* A paced message is due. */
void session_due(struct load *load, uint32_t slot, uint64_t due_ns);

/* Gives the connection up when it has kept us waiting for longer than patience allows. */
void session_check_patience(struct load *load, uint32_t slot);

/* Counts what it owes and cannot begin any more. */
void session_count_unsent(struct load *load, uint32_t slot);

/* Whether something is still on its way, and an error for each that is. */
bool session_is_busy(const struct load *load, uint32_t slot);
void session_report_missing(struct load *load, uint32_t slot);

#endif
