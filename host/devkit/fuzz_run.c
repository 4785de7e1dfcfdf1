/* One run: a plugin from `load` to `unload`, and the rules that it breaks. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "devkit/fuzz.h"
#include "os/os.h"

static size_t at_step;

size_t fuzz_run_step(void) {
    return at_step;
}

static bool fuzz_run_start(struct testbed *bed, struct bytes *why) {
    char words[512];
    bool loaded = testbed_load(bed, words, sizeof(words)) == BERTH_OK;
    bool opened = loaded && testbed_open(bed, words, sizeof(words)) == BERTH_OK;
    if (!opened) {
        bytes_add_format(why, "%s refused: %s", loaded ? "listener_open" : "load", words);
    }
    return opened;
}

static void run_datagram(struct testbed *bed, const struct step *step) {
    if (step->kind == STEP_SEND) {
        testbed_datagram(bed, step->text.data, step->text.size);
    } else if (step->kind == STEP_WAIT) {
        testbed_advance(bed, step->wait_ms);
    }
}

/* The connection of the step's client; NULL: the plugin has not connected to it, or the listener is
 * closed. */
static struct testbed_conn *fuzz_run_find_conn(struct testbed *bed, struct testbed_conn **conns,
                                               const struct transcript *transcript,
                                               const struct step *step) {
    struct testbed_conn **conn = &conns[step->client];
    int upstream = transcript->clients[step->client].upstream;
    if (!*conn) {
        *conn = upstream < 0 ? testbed_connect(bed) : testbed_upstream(bed, (unsigned)upstream);
    }
    return *conn;
}

static void fuzz_run_one_step(struct testbed *bed, struct testbed_conn **conns,
                              const struct transcript *transcript, struct step *step) {
    if (testbed_is_datagrams(bed)) {
        run_datagram(bed, step);
        return;
    }
    struct testbed_conn *conn = fuzz_run_find_conn(bed, conns, transcript, step);
    step->is_idle = !conn;
    if (!conn) {
        return;
    }
    if (step->kind == STEP_SEND) {
        testbed_client_send(conn, step->text.data, step->text.size);
    } else if (step->kind == STEP_FINISH) {
        testbed_client_finish(conn);
    } else if (step->kind == STEP_RESET) {
        testbed_client_reset(conn);
    } else if (step->kind == STEP_WAIT) {
        testbed_advance(bed, step->wait_ms);
    }
}

static void fuzz_run_steps(struct testbed **bed, struct transcript *transcript) {
    struct testbed_conn *conns[TRANSCRIPT_CLIENTS_MAX] = {NULL};
    for (size_t i = 0; i < transcript->step_count; i++) {
        transcript->steps[i].is_idle = false;
    }
    for (; *bed && at_step < transcript->step_count; at_step++) {
        struct step *step = &transcript->steps[at_step];
        if (step->kind == STEP_REFUSE) {
            testbed_refuse(*bed, step->refuses);
        } else if (step->kind == STEP_RESTART) {
            memset(conns, 0, sizeof(conns));
            *bed = testbed_restart(*bed);
        } else {
            fuzz_run_one_step(*bed, conns, transcript, step);
        }
    }
}

static void fuzz_run_look(const struct testbed *bed, const char *rule,
                          struct testbed_finding *found) {
    for (size_t i = 0; i < testbed_finding_count(bed) && !found->name[0]; i++) {
        const struct testbed_finding *one = testbed_finding_at(bed, i);
        if (one && (!rule || strcmp(one->name, rule) == 0)) {
            *found = *one;
        }
    }
}

static bool fuzz_run_with(const struct fuzz_trial *trial, struct transcript *transcript,
                          const char *rule, const char *config, const char *folder,
                          struct testbed_finding *found, struct bytes *words) {
    const struct testbed_options options = {
        .config_json = config,
        .config_folder = folder,
        .datagrams = transcript->datagrams,
        .world = transcript->world,
        .workers = transcript->workers,
        .taken_at_a_time = transcript->taken_at_a_time,
    };
    struct testbed *bed = testbed_create(trial->plugin, &options);
    bool good = bed != NULL;
    if (good) {
        testbed_upstream_expect(bed, transcript_has_upstreams(transcript));
        good = fuzz_run_start(bed, words);
    }
    if (good) {
        fuzz_run_steps(&bed, transcript);
    }
    if (!bed) {
        bytes_add_text(words, "out of memory");
        return false;
    }
    testbed_stop(bed);
    fuzz_run_look(bed, rule, found);
    testbed_destroy(bed);
    return good;
}

bool fuzz_run(const struct fuzz_trial *trial, struct transcript *transcript, const char *rule,
              struct testbed_finding *found, struct bytes *words) {
    char folder[OS_PATH_MAX] = "";
    char *copied = NULL;
    struct error error = {0};
    const char *config = transcript->config ? transcript->config : trial->config_json;
    watchdog_step();
    at_step = 0;
    *found = (struct testbed_finding){0};
    os_path_folder(folder, sizeof(folder), transcript->path);
    const char *from = trial->folder ? trial->folder : folder;
    if (config && trial->scratch && !fuzz_copy(trial->scratch, from, config, &copied, &error)) {
        bytes_add_text(words, error.message);
        return false;
    }
    bool good =
        fuzz_run_with(trial, transcript, rule, copied ? copied : config, from, found, words);
    alloc_free(copied);
    return good;
}
