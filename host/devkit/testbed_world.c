/* The simulated network of a testbed, by its number. */
#include "devkit/testbed_private.h"
#include "engine/sim/sim.h"

enum {
    WINDOW_BYTES = 256 * 1024,  /* each way, of a client that reads everything */
    WINDOW_BYTES_MIN = 512,     /* smaller: one large answer would take too long */
    FAILING = 4,                /* one world in so many has failures */
    ABANDONED = SIM_ALWAYS / 8, /* share of the operations whose cancel is lost */
};

static struct sim_options testbed_world_options_of(uint32_t number, bool fails) {
    if (number == 0) { /* no latency */
        struct sim_options options = sim_options_calm(SIM_URING, 1);
        options.threads = true;
        options.latency_min_us = 0;
        options.latency_max_us = 0;
        options.completion_max_us = 0;
        options.window_min = WINDOW_BYTES;
        options.window_max = WINDOW_BYTES;
        return options;
    }
    enum sim_personality personality = (enum sim_personality)(number % SIM_PERSONALITIES);
    struct sim_options options =
        fails ? sim_options_hostile(personality, number) : sim_options_rough(personality, number);
    options.threads = true; /* threads of the plugin may call services */
    options.cancel_abandoned = options.cancel_lost > 0 ? ABANDONED : 0;
    options.window_min =
        options.window_min > WINDOW_BYTES_MIN ? options.window_min : WINDOW_BYTES_MIN;
    options.window_max =
        options.window_max > WINDOW_BYTES_MIN ? options.window_max : WINDOW_BYTES_MIN;
    return options;
}

void testbed_world_begin(uint32_t number) {
    struct sim_options options = testbed_world_options_of(number, false);
    sim_world_create(&options);
}

void testbed_world_set_failures(uint32_t number, bool on) {
    if (number % FAILING == 0) {
        *sim_world_options() = testbed_world_options_of(number, on);
    }
}

bool testbed_world_is_slow(void) {
    const struct sim_options *options = sim_world_options();
    return options->latency_max_us > 0 || options->completion_max_us > 0;
}
