/* sim_clients.h: clients of an echo server in the simulated world, each with a number of bytes to
 * send and a temper. Each byte that comes back is compared. */
#ifndef BERTH_TESTS_ENGINE_SIM_CLIENTS_H
#define BERTH_TESTS_ENGINE_SIM_CLIENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "berth/address.h"

struct sim_clients;

struct sim_clients_result {
    unsigned completed; /* got back all that they sent, and the FIN */
    unsigned failed;    /* were refused or reset */
    uint64_t bytes;     /* that came back */
};

/* They begin within the next moments. `tempers`: some reset, vanish or leave early; else all of
 * them stay to the end, though some of them are slow. */
struct sim_clients *sim_clients_start(const struct berth_address *to, unsigned count, bool tempers);
bool sim_clients_over(const struct sim_clients *all);
/* When all are over. */
struct sim_clients_result sim_clients_end(struct sim_clients *all);

#endif
