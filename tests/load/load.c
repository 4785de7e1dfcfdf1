/* The phases of a run, and what is due when. Everything that happens on a connection is in
 * session.c; this loop only lets things begin: connects, paced messages, reads of slow readers. */
#include "load.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/error.h"
#include "dialogue.h"
#include "options.h"
#include "pattern.h"
#include "result.h"
#include "session.h"
#include "transport.h"

#define NS_PER_SECOND UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)
#define WAIT_MAX_NS (100 * NS_PER_MS)
#define DRAIN_LOOK_NS NS_PER_MS
#define READS_PER_SECOND 20 /* of a slow reader */
#define DUE_MAX 65536       /* of a block at a time: then what has come is looked at */
#define UNSENT_STEPS 65536  /* that very many of them are counted in */

static uint64_t seconds_ns(double seconds) {
    return (uint64_t)(seconds * 1e9);
}

static void enter(struct load *load, enum load_phase phase) {
    load->phase = phase;
    load->phase_ns = load->now_ns;
}

void load_enqueue(struct load *load, uint32_t slot) {
    load->waiting[(load->waiting_first + load->waiting_count) % load->count] = slot;
    load->waiting_count++;
}

/* Its due time passes while connections are being made; then it may begin. */
uint64_t load_take(struct load *load, uint64_t wanted) {
    if (load->phase != PHASE_WARMING && load->phase != PHASE_MEASURING) {
        return 0;
    }
    if (load->operations_max > 0 && load->phase == PHASE_MEASURING) {
        uint64_t left = load->operations_max - load->started;
        wanted = wanted < left ? wanted : left;
    }
    load->started += wanted;
    return wanted;
}

void load_count_unsent(struct load *load, uint64_t first_ns, double each_ns, uint64_t count) {
    uint64_t together = count / UNSENT_STEPS + 1;
    load->result->unsent += count;
    for (uint64_t i = 0; i < count; i += together) {
        uint64_t due_ns = first_ns + (uint64_t)(each_ns * (double)i);
        uint64_t waited_ns = load->now_ns > due_ns ? load->now_ns - due_ns : 0;
        histogram_record_many(&load->result->latency, waited_ns,
                              count - i < together ? count - i : together);
    }
}

/* -- what is due ----------------------------------------------------------- */

/* The next block waits until all of this one is served. */
static bool block_allows(const struct load *load) {
    uint32_t block = load->options->block;
    return load->options->mode == MODE_SHORT ||
           load->waiting[load->waiting_first] / block <= load->settled / block;
}

static bool connect_allowed(const struct load *load) {
    bool phase_allows = load->options->mode == MODE_SHORT ? load->phase <= PHASE_MEASURING
                                                          : load->phase == PHASE_CONNECTING;
    return phase_allows && load->waiting_count > 0 && load->connecting < load->connecting_max &&
           block_allows(load);
}

static void connect_what_is_due(struct load *load) {
    while (connect_allowed(load)) {
        uint64_t due_ns;
        if (pace_next_ns(&load->connects) > load->now_ns ||
            (load->options->mode == MODE_SHORT && load_take(load, 1) == 0)) {
            return;
        }
        pace_take(&load->connects, load->now_ns, &due_ns);
        uint32_t slot = load->waiting[load->waiting_first];
        load->waiting_first = (load->waiting_first + 1) % load->count;
        load->waiting_count--;
        session_connect(load, slot, due_ns);
    }
}

static bool is_running(const struct load *load) {
    return load->phase == PHASE_WARMING || load->phase == PHASE_MEASURING;
}

static bool is_paced(const struct load *load) {
    return load->options->block_rate > 0 && is_running(load);
}

static void begin_what_is_due(struct load *load, uint64_t until_ns) {
    for (uint32_t i = 0; i < load->block_count && is_paced(load); i++) {
        struct block *block = &load->blocks[i];
        uint64_t due_ns;
        for (unsigned n = 0; n < DUE_MAX && pace_take(&block->pace, until_ns, &due_ns); n++) {
            session_due(load, block->first + block->cursor, due_ns);
            block->cursor = (block->cursor + 1) % block->count;
        }
    }
}

static void earlier(uint64_t *next_ns, uint64_t moment_ns) {
    if (moment_ns < *next_ns) {
        *next_ns = moment_ns;
    }
}

static uint64_t next_moment_ns(const struct load *load) {
    uint64_t next_ns = load->now_ns + WAIT_MAX_NS;
    if (connect_allowed(load)) {
        earlier(&next_ns, pace_next_ns(&load->connects));
    }
    for (uint32_t i = 0; i < load->block_count && is_paced(load); i++) {
        earlier(&next_ns, pace_next_ns(&load->blocks[i].pace));
    }
    if (load->phase == PHASE_GATHERING || load->phase == PHASE_DRAINING) {
        earlier(&next_ns, load->now_ns + DRAIN_LOOK_NS);
    }
    if (load->options->mode == MODE_SLOW) {
        earlier(&next_ns, load->now_ns + NS_PER_SECOND / READS_PER_SECOND);
    }
    if (load->phase == PHASE_MEASURING && load->options->seconds > 0) {
        earlier(&next_ns, load->phase_ns + seconds_ns(load->options->seconds));
    }
    return next_ns;
}

/* What rounding takes from one time it gives to another. */
size_t load_slow_read_bytes(const struct load *load) {
    uint64_t rate = load->options->read_rate;
    return (size_t)(rate * (load->reads + 1) / READS_PER_SECOND -
                    rate * load->reads / READS_PER_SECOND);
}

static void allow_reads(struct load *load, uint64_t *next_ns) {
    if (load->options->mode != MODE_SLOW || load->now_ns < *next_ns) {
        return;
    }
    *next_ns = load->now_ns + NS_PER_SECOND / READS_PER_SECOND;
    load->reads++;
    for (uint32_t slot = 0; slot < load->count; slot++) {
        if (load->sessions[slot].state == SESSION_OPEN) {
            transport_allow(load->transport, slot, load_slow_read_bytes(load));
        }
    }
}

/* -- phases ---------------------------------------------------------------- */

/* One process asks for all of them. */
static uint64_t server_ns(const struct load *load) {
    uint64_t sum_ns = 0;
    for (uint32_t i = 0; i < load->options->server_pid_count && load->is_first; i++) {
        uint64_t used_ns;
        if (!transport_process_ns(load->options->server_pids[i], &used_ns)) {
            result_error(load->result, "--server-pid: process %" PRIu32 " has ended",
                         load->options->server_pids[i]);
        }
        sum_ns += used_ns;
    }
    return sum_ns;
}

static void start_measuring(struct load *load) {
    enter(load, PHASE_MEASURING);
    result_begin_measuring(load->result);
    load->started = 0;
    load->server_ns = server_ns(load);
    for (uint32_t slot = 0; slot < load->count; slot++) {
        session_go_on(load, slot);
    }
}

static void start_running(struct load *load) {
    load->result->connect_seconds = (double)(load->now_ns - load->began_ns) / 1e9;
    for (uint32_t i = 0; i < load->block_count; i++) {
        struct block *block = &load->blocks[i];
        double part = (double)block->count / load->options->block;
        pace_start(&block->pace, load->options->block_rate * part / load->options->message_bytes,
                   load->now_ns);
    }
    if (load->options->mode == MODE_SHORT) {
        pace_start(&load->connects, load->connects.per_second, load->now_ns);
    }
    if (load->options->warmup_seconds == 0) {
        start_measuring(load);
        return;
    }
    enter(load, PHASE_WARMING);
    for (uint32_t slot = 0; slot < load->count; slot++) {
        session_go_on(load, slot);
    }
}

static bool has_ended(const struct load *load) {
    const struct options *options = load->options;
    return (options->seconds > 0 &&
            load->now_ns - load->phase_ns >= seconds_ns(options->seconds)) ||
           (load->operations_max > 0 && load->started >= load->operations_max) || (load->live == 0);
}

static uint64_t measured_until_ns(const struct load *load) {
    uint64_t end_ns = load->phase_ns + seconds_ns(load->options->seconds);
    return load->options->seconds > 0 && end_ns < load->now_ns ? end_ns : load->now_ns;
}

static void count_left(struct load *load, const struct pace *pace, uint64_t until_ns) {
    uint64_t left = pace_left_before(pace, until_ns);
    if (left > 0) {
        load_count_unsent(load, pace_next_ns(pace), 1e9 / pace->per_second, left);
    }
}

/* What was due until now and has not even been handed out; where all operations have begun, nothing
 * is due any more. What the sessions owe is counted when they could have begun it. */
static void count_what_is_left(struct load *load, uint64_t until_ns) {
    bool all_began = load->operations_max > 0 && load->started >= load->operations_max;
    for (uint32_t slot = 0; slot < load->count && all_began; slot++) {
        load->sessions[slot].owed = 0;
    }
    if (all_began || load->live == 0) {
        return;
    }
    for (uint32_t i = 0; i < load->block_count; i++) {
        count_left(load, &load->blocks[i].pace, until_ns);
    }
    if (load->options->mode == MODE_SHORT) {
        count_left(load, &load->connects, until_ns);
    }
}

static void start_draining(struct load *load) {
    uint64_t until_ns = measured_until_ns(load);
    begin_what_is_due(load, until_ns - 1);
    count_what_is_left(load, until_ns);
    load->result->seconds = (double)(load->now_ns - load->phase_ns) / 1e9;
    load->began_ns = load->phase_ns;
    enter(load, PHASE_DRAINING);
}

/* A slow reader is not asked to take all that is still on its way. */
static void drain(struct load *load) {
    bool expired = load->now_ns - load->phase_ns >= seconds_ns(load->options->patience_seconds);
    uint32_t busy = 0;
    for (uint32_t slot = 0; slot < load->count && load->options->mode != MODE_SLOW; slot++) {
        if (session_is_busy(load, slot)) {
            busy++;
            if (expired) {
                session_report_missing(load, slot);
            } else {
                break;
            }
        }
    }
    if (busy == 0 && load->operation_ns > load->phase_ns) {
        load->result->seconds = (double)(load->operation_ns - load->began_ns) / 1e9;
    }
    if (busy == 0 || expired) {
        for (uint32_t slot = 0; slot < load->count; slot++) {
            session_count_unsent(load, slot);
        }
        load->result->server_seconds = (double)(server_ns(load) - load->server_ns) / 1e9;
        enter(load, PHASE_OVER);
    }
}

/* Asked to stop before anything was measured, there is nothing to wait for. */
static void stop_early(struct load *load) {
    if (load->phase == PHASE_MEASURING) {
        start_draining(load);
    } else if (load->phase < PHASE_MEASURING) {
        enter(load, PHASE_OVER);
    }
}

static void advance(struct load *load) {
    if (transport_stop_asked()) {
        stop_early(load);
    }
    switch (load->phase) {
    case PHASE_CONNECTING:
        if (load->options->mode == MODE_SHORT || load->settled == load->count) {
            enter(load, PHASE_GATHERING);
            atomic_fetch_add(&load->gathering->arrived, 1);
        }
        break;
    case PHASE_GATHERING:
        if (atomic_load(&load->gathering->arrived) >= atomic_load(&load->gathering->expected)) {
            start_running(load);
        }
        break;
    case PHASE_WARMING:
        if (load->now_ns - load->phase_ns >= seconds_ns(load->options->warmup_seconds)) {
            start_measuring(load);
        }
        break;
    case PHASE_MEASURING:
        if (has_ended(load)) {
            start_draining(load);
        }
        break;
    case PHASE_DRAINING:
        drain(load);
        break;
    case PHASE_OVER:
        break;
    }
}

/* -- once a second --------------------------------------------------------- */

static void show_progress(const struct load *load) {
    static const char *const names[] = {"connecting", "waiting for the other processes",
                                        "warming up", "measuring",
                                        "draining",   "over"};
    uint64_t open = 0, connecting = 0, operations = 0, bytes = 0, errors = 0;
    for (uint32_t i = 0; i < load->options->processes; i++) {
        const struct result *result = &load->results[i];
        open += result->open;
        connecting += result->connecting;
        operations += result->operations;
        bytes += result->bytes_received;
        errors += result->errors;
    }
    fprintf(stderr,
            "%s: %" PRIu64 " open, %" PRIu64 " connecting, %" PRIu64 " operations, %" PRIu64
            " bytes back, %" PRIu64 " errors\n",
            names[load->phase], open, connecting, operations, bytes, errors);
}

static void each_second(struct load *load, uint64_t *next_ns, bool shows) {
    if (load->now_ns < *next_ns) {
        return;
    }
    *next_ns = load->now_ns + NS_PER_SECOND;
    for (uint32_t slot = 0; slot < load->count; slot++) {
        session_check_patience(load, slot);
    }
    load->result->open = load->open;
    load->result->connecting = load->connecting;
    if (shows) {
        show_progress(load);
    }
}

static void loop(struct load *load, bool shows) {
    uint64_t second_ns = load->began_ns + NS_PER_SECOND;
    uint64_t reads_ns = load->began_ns;
    while (load->phase != PHASE_OVER) {
        load->now_ns = transport_now_ns();
        enum load_phase before;
        do {
            before = load->phase;
            advance(load);
        } while (load->phase != before);
        connect_what_is_due(load);
        begin_what_is_due(load, load->now_ns);
        allow_reads(load, &reads_ns);
        each_second(load, &second_ns, shows);
        uint64_t next_ns = next_moment_ns(load);
        transport_wait(load->transport, next_ns > load->now_ns ? next_ns - load->now_ns : 0);
    }
}

/* -- begin and end --------------------------------------------------------- */

/* The share of this process in a total; the first ones take what does not divide. */
static uint64_t share(uint64_t total, unsigned processes, unsigned process) {
    return total / processes + (process < total % processes ? 1 : 0);
}

static bool allocate(struct load *load, struct error *error) {
    const struct options *options = load->options;
    load->block_count = (load->count + options->block - 1) / options->block;
    load->sessions = alloc_array(load->count, sizeof(*load->sessions));
    load->messages = alloc_array((size_t)load->count * options->pipeline, sizeof(*load->messages));
    load->waiting = alloc_array(load->count, sizeof(*load->waiting));
    load->blocks = alloc_array(load->block_count, sizeof(*load->blocks));
    if (dialogue_is_on()) {
        load->answers = alloc_array(load->count, sizeof(*load->answers));
    }
    if (!load->sessions || !load->messages || !load->waiting || !load->blocks ||
        (dialogue_is_on() && !load->answers)) {
        return error_set(error, "no memory for %" PRIu32 " connections", load->count);
    }
    for (uint32_t slot = 0; slot < load->count; slot++) {
        load_enqueue(load, slot);
    }
    for (uint32_t i = 0; i < load->block_count; i++) {
        uint32_t left = load->count - i * options->block;
        load->blocks[i].first = i * options->block;
        load->blocks[i].count = left < options->block ? left : options->block;
    }
    load->transport = transport_create(load->count, &session_events, load, error);
    return load->transport != NULL;
}

bool load_run(const struct options *options, struct result *results, struct gathering *gathering,
              unsigned process, struct error *error) {
    struct load load = {.options = options,
                        .result = &results[process],
                        .results = results,
                        .gathering = gathering};
    load.count = (uint32_t)share(options->connections, options->processes, process);
    load.live = load.count;
    load.connecting_max = (uint32_t)share(options->connecting_max, options->processes, process);
    load.connecting_max += load.connecting_max == 0 ? 1 : 0;
    load.is_first = process == 0;
    for (unsigned i = 0; i < process; i++) {
        load.number_first += (uint32_t)share(options->connections, options->processes, i);
    }
    load.operations_max = share(options->operations, options->processes, process);
    result_init(load.result);
    pattern_start();
    bool began = allocate(&load, error);
    if (began) {
        load.now_ns = load.began_ns = transport_now_ns();
        pace_start(&load.connects, options->connect_rate / options->processes, load.now_ns);
        loop(&load, process == 0 && !options->quiet);
    }
    transport_destroy(load.transport);
    alloc_free(load.answers);
    alloc_free(load.blocks);
    alloc_free(load.waiting);
    alloc_free(load.messages);
    alloc_free(load.sessions);
    return began;
}
