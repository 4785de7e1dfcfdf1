#include "devkit/replay.h"

#include <stdio.h>
#include <string.h>

#include "devkit/tool.h"
#include "os/os.h"

enum {
    SMALL_TAKE = 7,
    FULL_QUEUE = 64, /* or the smallest size that does not abort a plugin that sends all at once */
    QUEUE_BYTES_MAX = 1024 * 1024,
    WORKERS = 3,
    AFTER_MS = 10 * 60 * 1000, /* after a client has left: every timer fires */
    RUNS_MAX = 4000,   /* of one delivery; longer transcripts are sampled, as the result says */
    SHOWN_BYTES = 160, /* of a difference */
    FINDINGS_SHOWN = 4,
};

enum way {
    WAY_AS_WRITTEN,
    WAY_WITH_ACCEPT,
    WAY_BYTES,
    WAY_CUTS,
    WAY_AT_ONCE,
    WAY_SMALL_TAKES,
    WAY_FULL_QUEUE,
    WAY_WORKERS,
    WAY_HALF_CLOSE,
    WAY_RESET,
};

static const char *const way_names[] = {
    "as-written",  "with-accept", "byte-by-byte",    "two-way-cuts", "at-once",
    "small-takes", "full-queue",  "several-workers", "half-close",   "reset",
};

bool replay_knows(const char *delivery) {
    for (size_t i = 0; i < ARRAY_COUNT(way_names); i++) {
        if (strcmp(way_names[i], delivery) == 0) {
            return true;
        }
    }
    return false;
}

/* One run of the transcript. */
struct run {
    const struct transcript *transcript;
    const struct berth_plugin *plugin;
    const struct replay_options *options;
    enum way way;
    size_t at_step; /* where the message is split, or the client leaves */
    size_t at_byte;
    struct testbed *bed;
    struct testbed_conn *conns[TRANSCRIPT_CLIENTS_MAX];
    struct bytes failure; /* empty: passed */
};

static char place[256] = "";

const char *replay_place(void) {
    return place;
}

static void note_place(const struct run *run, unsigned line) {
    snprintf(place, sizeof(place), "%.150s:%u, %s", run->transcript->path, line,
             way_names[run->way]);
}

/* -- failures -------------------------------------------------------------- */

static bool replay_fail(struct run *run, unsigned line, const char *words) {
    if (run->failure.size == 0) {
        bytes_add_format(&run->failure, "line %u: %s", line, words);
        if (run->way == WAY_CUTS || run->way == WAY_HALF_CLOSE || run->way == WAY_RESET) {
            bytes_add_format(&run->failure, " (%s the message of line %u after %zu of its bytes)",
                             run->way == WAY_CUTS ? "with a cut in" : "when the client left in",
                             run->transcript->steps[run->at_step].line, run->at_byte);
        }
    }
    return false;
}

static void show_bytes(struct bytes *to, const char *label, const uint8_t *bytes, size_t size,
                       size_t from) {
    size_t shown = size - from < SHOWN_BYTES ? size - from : SHOWN_BYTES;
    bytes_add_format(to, "\n%s: %s", label, from > 0 ? "…" : "");
    bytes_add_escaped(to, bytes + from, shown, false);
    bytes_add_text(to, from + shown < size ? "…" : size == 0 ? "(nothing)" : "");
}

/* The expected text as written in the file, for messages. */
static void show_expected(struct bytes *to, const struct bytes *text, const struct bytes *wild) {
    size_t shown = 0;
    bytes_add_text(to, "\nexpected: ");
    for (size_t i = 0; i < text->size && shown < SHOWN_BYTES; i++, shown++) {
        if (wild->data[i] != WILD_NOT) {
            bytes_add_text(to, wild->data[i] == WILD_ALL ? "{**}" : "{*}");
        } else {
            bytes_add_escaped(to, text->data + i, 1, false);
        }
    }
    bytes_add_text(to, shown < text->size ? "…" : text->size == 0 ? "(nothing)" : "");
}

static const uint8_t *output_of(const struct run *run, unsigned client, size_t *size) {
    *size = 0;
    if (run->transcript->datagrams) {
        return testbed_datagrams(run->bed, size);
    }
    return run->conns[client] ? testbed_output(run->conns[client], size) : NULL;
}

static bool replay_expect(struct run *run, unsigned line, unsigned client, const struct bytes *text,
                          const struct bytes *wild) {
    size_t size = 0;
    size_t differ = 0;
    const uint8_t *output = output_of(run, client, &size);
    if (!transcript_matches(text, wild, output, size, &differ)) {
        bool first = run->failure.size == 0;
        replay_fail(run, line, "the answer differs");
        if (first) {
            bytes_add_format(&run->failure, ", at byte %zu", differ);
            show_expected(&run->failure, text, wild);
            show_bytes(&run->failure, "received", output, size, 0);
            if (differ > SHOWN_BYTES / 2) {
                show_bytes(&run->failure, "there", output, size, differ);
            }
        }
        return false;
    }
    if (run->transcript->datagrams) {
        testbed_datagrams_clear(run->bed);
    } else if (run->conns[client]) {
        testbed_output_clear(run->conns[client]);
    }
    return true;
}

static bool expect_nothing(struct run *run, unsigned line) {
    const struct bytes nothing = {0};
    for (unsigned i = 0; i < run->transcript->client_count; i++) {
        if (!replay_expect(run, line, i, &nothing, &nothing)) {
            return false;
        }
    }
    return true;
}

static bool expect_state(struct run *run, const struct step *step) {
    static const char *const names[] = {"open", "finished", "closed", "reset"};
    char words[80];
    struct testbed_conn *conn = run->conns[step->client];
    enum testbed_state state = conn ? testbed_conn_state(conn) : TESTBED_RESET;
    if (state == step->state) {
        return true;
    }
    snprintf(words, sizeof(words), "the connection should be %s, and is %s", names[step->state],
             names[state]);
    return replay_fail(run, step->line, words);
}

/* -- steps ----------------------------------------------------------------- */

/* The connection of the step's client: created at its first step, or by the plugin for an upstream.
 * None after a failed restart: the listener is closed. */
static bool replay_find_conn(struct run *run, const struct step *step) {
    const struct transcript_client *client = &run->transcript->clients[step->client];
    if (run->transcript->datagrams || (run->conns[step->client] && step->kind != STEP_CONNECT)) {
        return true;
    }
    if (client->upstream < 0) {
        run->conns[step->client] = testbed_connect(run->bed);
        return run->conns[step->client] || !testbed_is_open(run->bed) ||
               replay_fail(run, step->line, "out of memory");
    }
    run->conns[step->client] = testbed_upstream(run->bed, (unsigned)client->upstream);
    return run->conns[step->client] ||
           replay_fail(run, step->line, "the plugin has not connected to that upstream");
}

static bool run_host_step(struct run *run, const struct step *step) {
    if (step->kind == STEP_REFUSE) {
        testbed_refuse(run->bed, step->refuses);
        return true;
    }
    memset(run->conns, 0, sizeof(run->conns));
    run->bed = testbed_restart(run->bed);
    return run->bed || replay_fail(run, step->line, "out of memory");
}

static void send_bytes(struct run *run, const struct step *step, size_t from, size_t to) {
    if (run->transcript->datagrams) {
        testbed_datagram(run->bed, step->text.data + from, to - from);
    } else if (to > from) {
        testbed_client_send(run->conns[step->client], step->text.data + from, to - from);
    }
}

/* False: the client has left, and the transcript ends here. */
static bool send_step(struct run *run, size_t index) {
    const struct step *step = &run->transcript->steps[index];
    size_t size = step->text.size;
    bool here = index == run->at_step;
    if (run->way == WAY_BYTES) {
        for (size_t i = 0; i < size; i++) {
            send_bytes(run, step, i, i + 1);
        }
        return true;
    }
    if (run->way == WAY_CUTS && here) {
        send_bytes(run, step, 0, run->at_byte);
        send_bytes(run, step, run->at_byte, size);
        return true;
    }
    if ((run->way != WAY_HALF_CLOSE && run->way != WAY_RESET) || !here) {
        send_bytes(run, step, 0, size);
        return true;
    }
    send_bytes(run, step, 0, run->at_byte);
    if (run->way == WAY_RESET) {
        testbed_client_reset(run->conns[step->client]);
    } else {
        testbed_client_finish(run->conns[step->client]);
    }
    testbed_advance(run->bed, AFTER_MS);
    return false;
}

/* False: the run is over. */
static bool replay_run_step(struct run *run, size_t index) {
    const struct step *step = &run->transcript->steps[index];
    note_place(run, step->line);
    if (step_is_host(step)) {
        return run_host_step(run, step);
    }
    if (!replay_find_conn(run, step)) {
        return false;
    }
    bool is_there = run->conns[step->client] || run->transcript->datagrams;
    if (!is_there && step->kind != STEP_EXPECT && step->kind != STEP_STATE) {
        return true;
    }
    switch (step->kind) {
    case STEP_SEND:
        return send_step(run, index);
    case STEP_EXPECT:
        testbed_settle(run->bed);
        return replay_expect(run, step->line, step->client, &step->text, &step->wild);
    case STEP_FINISH:
        testbed_client_finish(run->conns[step->client]);
        return true;
    case STEP_RESET:
        testbed_client_reset(run->conns[step->client]);
        return true;
    case STEP_WAIT:
        testbed_advance(run->bed, step->wait_ms);
        return true;
    case STEP_STATE:
        testbed_settle(run->bed);
        return expect_state(run, step);
    default:
        return true;
    }
}

/* Sends everything of the only client, then compares all answers. */
static void run_at_once(struct run *run) {
    const struct transcript *transcript = run->transcript;
    struct step said = {.kind = STEP_SEND};
    struct step heard = {.kind = STEP_EXPECT};
    bool finishes = false;
    const struct step *last = &transcript->steps[transcript->step_count - 1];
    for (size_t i = 0; i < transcript->step_count; i++) {
        const struct step *step = &transcript->steps[i];
        struct step *to = step->kind == STEP_SEND ? &said : &heard;
        if (step->kind == STEP_SEND || step->kind == STEP_EXPECT) {
            bytes_add(&to->text, step->text.data, step->text.size);
            bytes_add(&to->wild, step->wild.data, step->wild.size);
        }
        finishes |= step->kind == STEP_FINISH;
    }
    if (replay_find_conn(run, &transcript->steps[0])) {
        note_place(run, transcript->steps[0].line);
        send_bytes(run, &said, 0, said.text.size);
        if (finishes) {
            testbed_client_finish(run->conns[0]);
        }
        replay_expect(run, last->line, 0, &heard.text, &heard.wild);
    }
    bytes_free(&said.text);
    bytes_free(&said.wild);
    bytes_free(&heard.text);
    bytes_free(&heard.wild);
}

static void replay_run_steps(struct run *run) {
    const struct transcript *transcript = run->transcript;
    size_t i = 0;
    while (i < transcript->step_count && replay_run_step(run, i)) {
        i++;
    }
    if (i == transcript->step_count) {
        testbed_settle(run->bed);
        expect_nothing(run, transcript->steps[i - 1].line);
    }
}

/* -- a run ----------------------------------------------------------------- */

static void add_findings(struct run *run) {
    size_t count = testbed_finding_count(run->bed);
    for (size_t i = 0; i < count && i < FINDINGS_SHOWN; i++) {
        const struct testbed_finding *found = testbed_finding_at(run->bed, i);
        bytes_add_format(&run->failure, "%s%s%s%s: %s", run->failure.size > 0 ? "\n" : "",
                         found->name, found->callback[0] ? " in " : "", found->callback,
                         found->words);
    }
}

static bool replay_start(struct run *run) {
    char words[512];
    if (testbed_load(run->bed, words, sizeof(words)) != BERTH_OK) {
        bytes_add_format(&run->failure, "load refused: %s", words);
        return false;
    }
    if (testbed_open(run->bed, words, sizeof(words)) != BERTH_OK) {
        bytes_add_format(&run->failure, "listener_open refused: %s", words);
        return false;
    }
    return true;
}

static void replay_run_with(struct run *run, uint32_t queue_bytes, bool *cut) {
    watchdog_step();
    char folder[OS_PATH_MAX];
    const struct transcript *transcript = run->transcript;
    bool taken_slowly = run->way == WAY_SMALL_TAKES || run->way == WAY_FULL_QUEUE;
    if (!os_path_folder(folder, sizeof(folder), transcript->path)) {
        folder[0] = '\0';
    }
    const struct testbed_options options = {
        .config_json = transcript->config ? transcript->config : run->options->config_json,
        .config_folder = run->options->folder ? run->options->folder : folder,
        .taken_at_a_time = taken_slowly ? SMALL_TAKE : transcript->taken_at_a_time,
        .queue_bytes = queue_bytes,
        .workers = run->way == WAY_WORKERS ? WORKERS : transcript->workers,
        .datagrams = transcript->datagrams,
        .first_data = run->way == WAY_WITH_ACCEPT,
        .world = transcript->world,
    };
    memset(run->conns, 0, sizeof(run->conns));
    run->bed = testbed_create(run->plugin, &options);
    if (!run->bed) {
        bytes_add_text(&run->failure, "out of memory");
        return;
    }
    testbed_upstream_expect(run->bed, transcript_has_upstreams(transcript));
    note_place(run, transcript->steps[0].line);
    if (replay_start(run)) {
        if (run->way == WAY_AT_ONCE) {
            run_at_once(run);
        } else {
            replay_run_steps(run);
        }
    }
    if (run->bed) {
        testbed_stop(run->bed);
        *cut = testbed_was_cut(run->bed);
        add_findings(run);
        testbed_destroy(run->bed);
        run->bed = NULL;
    }
}

/* A single callback may exceed four times a tiny queue. Then the queue is as long as necessary, up
 * to the default of a listener. */
static void run_once(struct run *run) {
    uint32_t queue_bytes = run->way == WAY_FULL_QUEUE ? FULL_QUEUE : 0;
    bool cut = false;
    replay_run_with(run, queue_bytes, &cut);
    while (cut && queue_bytes > 0 && queue_bytes < QUEUE_BYTES_MAX) {
        queue_bytes *= 2;
        run->failure.size = 0;
        replay_run_with(run, queue_bytes, &cut);
    }
}

/* -- deliveries ------------------------------------------------------------ */

/* Why the delivery is impossible for this transcript; NULL: it is possible. */
static const char *replay_impossible(const struct run *run) {
    const struct transcript *transcript = run->transcript;
    bool seen[TRANSCRIPT_CLIENTS_MAX] = {false};
    if (run->way == WAY_AS_WRITTEN) {
        return NULL;
    }
    if (transcript->datagrams) {
        return "a datagram comes whole";
    }
    if (run->way == WAY_WITH_ACCEPT && (run->plugin->flags & BERTH_PLUGIN_SPEAKS_FIRST) != 0) {
        return "the plugin speaks first";
    }
    if (run->way == WAY_AT_ONCE && transcript->client_count > 1) {
        return "there is more than one client";
    }
    for (size_t i = 0; i < transcript->step_count; i++) {
        const struct step *step = &transcript->steps[i];
        if (step_is_host(step) && run->way == WAY_AT_ONCE) {
            return "the host does something in between";
        }
        if (step_is_host(step)) {
            continue;
        }
        bool first = !seen[step->client] && transcript->clients[step->client].upstream < 0;
        seen[step->client] = true;
        if (run->way == WAY_WITH_ACCEPT && first && step->kind != STEP_SEND) {
            return "a client does not begin with a message";
        }
        bool other = step->kind == STEP_RESET || step->kind == STEP_WAIT ||
                     step->kind == STEP_CONNECT || step->kind == STEP_STATE;
        if (run->way == WAY_AT_ONCE && other && i + 1 < transcript->step_count) {
            return "it has steps in between that are no messages";
        }
    }
    return NULL;
}

/* The number of positions where the client may leave or a message may be split. */
static size_t count_places(const struct run *run) {
    size_t count = 0;
    for (size_t i = 0; i < run->transcript->step_count; i++) {
        const struct step *step = &run->transcript->steps[i];
        count += step->kind == STEP_SEND ? step->text.size + 1 : 0;
    }
    return count;
}

/* Runs the delivery at every position, or at every stride-th one. Returns the number of runs. */
static size_t run_places(struct run *run, size_t stride) {
    const struct transcript *transcript = run->transcript;
    size_t place_number = 0;
    size_t runs = 0;
    for (size_t i = 0; i < transcript->step_count && run->failure.size == 0; i++) {
        const struct step *step = &transcript->steps[i];
        for (size_t at = 0; step->kind == STEP_SEND && at <= step->text.size; at++) {
            bool whole = at == 0 || at == step->text.size;
            if ((run->way == WAY_CUTS && whole) || place_number++ % stride != 0) {
                continue;
            }
            run->at_step = i;
            run->at_byte = at;
            run_once(run);
            runs++;
            if (run->failure.size > 0) {
                break;
            }
        }
    }
    return runs;
}

static void replay_deliver(struct run *run, struct results *results) {
    char name[512];
    const char *delivery = way_names[run->way];
    const char *reason = replay_impossible(run);
    snprintf(name, sizeof(name), "%.400s: %s", run->transcript->path, delivery);
    reason = reason ? reason : transcript_skips(run->transcript, delivery);
    if (reason) {
        results_add(results, RESULT_SKIPPED, name, reason);
        return;
    }
    run->failure = (struct bytes){0};
    run->at_step = SIZE_MAX;
    size_t runs = 1;
    size_t stride = 1;
    if (run->way == WAY_CUTS || run->way == WAY_HALF_CLOSE || run->way == WAY_RESET) {
        stride = count_places(run) / RUNS_MAX + 1;
        runs = run_places(run, stride);
    } else {
        run_once(run);
    }
    if (run->failure.size > 0) {
        results_add(results, RESULT_FAILED, name, (const char *)run->failure.data);
    } else if (runs == 0) {
        results_add(results, RESULT_SKIPPED, name, "no message has two bytes to cut between");
    } else if (stride > 1) {
        results_addf(results, RESULT_PASSED, name, "%zu runs, at every %zu. place", runs, stride);
    } else {
        results_addf(results, RESULT_PASSED, name, "%zu run%s", runs, runs == 1 ? "" : "s");
    }
    bytes_free(&run->failure);
}

void replay_transcript(const struct berth_plugin *plugin, const struct transcript *transcript,
                       const struct replay_options *options, struct results *results) {
    struct run run = {.transcript = transcript, .plugin = plugin, .options = options};
    for (unsigned way = 0; way < ARRAY_COUNT(way_names); way++) {
        run.way = (enum way)way;
        replay_deliver(&run, results);
    }
    place[0] = '\0';
}
