/* sim_options.c: predefined options of worlds: calm, rough, hostile. */
#include "engine/sim/sim_private.h"

enum { TINY_WINDOW = 500, TINY_WINDOW_US = 2000 };

struct sim_options sim_options_calm(enum sim_personality personality, uint64_t seed) {
    return (struct sim_options){
        .seed = seed,
        .personality = personality,
        .latency_min_us = 10,
        .latency_max_us = 100,
        .completion_max_us = 20,
        .window_min = 256 << 10,
        .window_max = 256 << 10,
        .pending_send = personality == SIM_EPOLL ? 0 : SIM_ALWAYS / 10,
        .data_with_accept = personality == SIM_IOCP ? 0 : SIM_ALWAYS,
        .reuse = SIM_ALWAYS,
        .sockets_max = UINT32_MAX,
        .files_max = UINT32_MAX,
    };
}

/* One world in three does not have the effect; in the others it is rare or frequent. */
static uint32_t sim_option_some(uint64_t *state, uint32_t most) {
    uint64_t drawn = sim_next_random(state);
    unsigned kind = drawn % 3;
    return kind == 0 ? 0 : (uint32_t)((drawn >> 8) % (kind == 1 ? most / 16 + 1 : most + 1));
}

static uint32_t sim_option_least(uint32_t one, uint32_t other) {
    return one < other ? one : other;
}

struct sim_options sim_options_rough(enum sim_personality personality, uint64_t seed) {
    static const uint32_t windows[] = {1, 60, 700, 5000, 65536, 1 << 20};
    static const uint32_t latencies[] = {0, 50, 2000, 200000};
    struct sim_options options = sim_options_calm(personality, seed);
    uint64_t state = seed ^ UINT64_C(0x5eed0f0a71e5);
    options.latency_min_us = 0;
    options.latency_max_us = latencies[sim_next_random(&state) % ARRAY_COUNT(latencies)];
    options.completion_max_us = latencies[sim_next_random(&state) % ARRAY_COUNT(latencies)];
    options.window_max = windows[sim_next_random(&state) % ARRAY_COUNT(windows)];
    options.window_min = options.window_max / 4 + 1;
    if (options.window_max < TINY_WINDOW) { /* else a test takes too long */
        options.latency_max_us = sim_option_least(options.latency_max_us, TINY_WINDOW_US);
        options.completion_max_us = sim_option_least(options.completion_max_us, TINY_WINDOW_US);
    }
    options.fragment = sim_option_some(&state, SIM_ALWAYS);
    options.short_receive = sim_option_some(&state, SIM_ALWAYS);
    options.short_send = sim_option_some(&state, SIM_ALWAYS);
    options.pending_send = sim_option_some(&state, SIM_ALWAYS);
    options.full_buffer = sim_option_some(&state, SIM_ALWAYS / 2);
    options.cancel_late = sim_option_some(&state, SIM_ALWAYS);
    options.data_with_accept = sim_option_some(&state, SIM_ALWAYS);
    options.reuse = sim_option_some(&state, SIM_ALWAYS);
    options.partial_turn = sim_option_some(&state, SIM_ALWAYS);
    options.event_first = sim_option_some(&state, SIM_ALWAYS / 2);
    options.reset_as_fin = personality == SIM_IOCP ? sim_option_some(&state, SIM_ALWAYS) : 0;
    options.plain_acceptor = personality == SIM_IOCP ? sim_option_some(&state, SIM_ALWAYS / 4) : 0;
    options.datagram_lost = sim_option_some(&state, SIM_ALWAYS / 4);
    options.datagram_twice = sim_option_some(&state, SIM_ALWAYS / 4);
    return options;
}

/* Which errors an operation can have, as bits. */
#define CAN(error) (1u << -(error))
enum {
    EVERY_LACK = CAN(ENGINE_E_NO_RESOURCES) | CAN(ENGINE_E_OTHER),
    EVERY_END = EVERY_LACK | CAN(ENGINE_E_RESET) | CAN(ENGINE_E_TIMED_OUT),
};
static const unsigned possible[SIM_OPERATIONS] = {
    [SIM_ACCEPT] = EVERY_LACK,
    [SIM_ATTACH] = EVERY_LACK,
    [SIM_RECEIVE] = EVERY_END,
    [SIM_SEND] = EVERY_END | CAN(ENGINE_E_FILE_SHORT),
    [SIM_SHUTDOWN] = CAN(ENGINE_E_RESET) | CAN(ENGINE_E_OTHER),
    [SIM_CONNECT] = EVERY_END | CAN(ENGINE_E_REFUSED) | CAN(ENGINE_E_UNREACHABLE),
    [SIM_DATAGRAM] = EVERY_LACK | CAN(ENGINE_E_UNREACHABLE),
    [SIM_RESOLVE] = CAN(ENGINE_E_OTHER),
    [SIM_FILE] = CAN(ENGINE_E_NO_RESOURCES),
};

struct sim_options sim_options_hostile(enum sim_personality personality, uint64_t seed) {
    struct sim_options options = sim_options_rough(personality, seed);
    uint64_t state = seed ^ UINT64_C(0xbadbadbadbad);
    options.reset = sim_option_some(&state, SIM_ALWAYS / 50);
    options.cancel_lost = personality == SIM_IOCP ? sim_option_some(&state, SIM_ALWAYS / 4) : 0;
    options.half_close = sim_option_some(&state, SIM_ALWAYS / 20);
    for (unsigned i = 0; i < SIM_OPERATIONS; i++) {
        for (unsigned k = 0; k < ENGINE_ERRORS; k++) {
            options.faults[i][k] =
                possible[i] >> k & 1 ? sim_option_some(&state, SIM_ALWAYS / 50) : 0;
        }
    }
    options.connect_to_itself = sim_option_some(&state, SIM_ALWAYS / 50);
    return options;
}
