/* sim_echo.h: a small echo server on engine.h, with several ports, and clients of every temper, in
 * one simulated world: what the tests of the simulated engine drive. */
#ifndef BERTH_TESTS_ENGINE_SIM_ECHO_H
#define BERTH_TESTS_ENGINE_SIM_ECHO_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/sim/sim.h"
#include "sim_clients.h"

struct sim_echo_result {
    uint64_t trace_hash;
    uint64_t virtual_ms;
    unsigned served; /* connections that were accepted */
    struct sim_clients_result clients;
};

/* Runs the clients to their ends and the server to its own; the test fails when anything does not
 * end, is lost or comes twice. `tempers`: some clients reset, vanish or leave early. */
struct sim_echo_result sim_echo_run(const struct sim_options *options, unsigned ports,
                                    unsigned clients, bool tempers);

#endif
