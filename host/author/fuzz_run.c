/* One run: a plugin from `load` to `unload`, and what it breaks meanwhile. */
#include <stdio.h>
#include <string.h>

#include "author/fuzz.h"
#include "author/tool.h"
#include "os/os.h"

static size_t at_step;

size_t fuzz_run_step(void) {
    return at_step;
}

static bool start(struct testbed *bed, struct bytes *why) {
    char words[512];
    bool loaded = testbed_load(bed, words, sizeof(words)) == BERTH_OK;
    bool opened = loaded && testbed_open(bed, words, sizeof(words)) == BERTH_OK;
    if (!opened) {
        bytes_add_format(why, "%s refused: %s", loaded ? "listener_open" : "load", words);
    }
    return opened;
}

static void run_step(struct testbed *bed, struct testbed_conn **conns, const struct step *step) {
    if (testbed_is_datagrams(bed)) {
        if (step->kind == STEP_SEND) {
            testbed_datagram(bed, step->text.data, step->text.size);
        } else if (step->kind == STEP_WAIT) {
            testbed_advance(bed, step->wait_ms);
        }
        return;
    }
    struct testbed_conn **conn = &conns[step->client];
    *conn = *conn ? *conn : testbed_connect(bed);
    if (!*conn) {
        return;
    }
    if (step->kind == STEP_SEND) {
        testbed_client_send(*conn, step->text.data, step->text.size);
    } else if (step->kind == STEP_FINISH) {
        testbed_client_finish(*conn);
    } else if (step->kind == STEP_RESET) {
        testbed_client_reset(*conn);
    } else if (step->kind == STEP_WAIT) {
        testbed_advance(bed, step->wait_ms);
    }
}

static void look(const struct testbed *bed, const char *rule, struct testbed_finding *found) {
    for (size_t i = 0; i < testbed_finding_count(bed) && !found->name[0]; i++) {
        const struct testbed_finding *one = testbed_finding_at(bed, i);
        if (one && (!rule || strcmp(one->name, rule) == 0)) {
            *found = *one;
        }
    }
}

bool fuzz_run(const struct fuzz_trial *trial, const struct transcript *transcript, const char *rule,
              struct testbed_finding *found, struct bytes *words) {
    struct testbed_conn *conns[TRANSCRIPT_CLIENTS_MAX] = {NULL};
    char folder[OS_PATH_MAX];
    tool_watch_step();
    at_step = 0;
    *found = (struct testbed_finding){0};
    if (!os_path_folder(folder, sizeof(folder), transcript->path)) {
        folder[0] = '\0';
    }
    const struct testbed_options options = {
        .config_json = transcript->config ? transcript->config : trial->config_json,
        .config_folder = trial->folder ? trial->folder : folder,
        .datagrams = transcript->datagrams,
        .world = transcript->world,
    };
    struct testbed *bed = testbed_create(trial->plugin, &options);
    if (!bed) {
        bytes_add_text(words, "out of memory");
        return false;
    }
    bool good = start(bed, words);
    for (; good && at_step < transcript->step_count; at_step++) {
        run_step(bed, conns, &transcript->steps[at_step]);
    }
    testbed_stop(bed);
    look(bed, rule, found);
    testbed_destroy(bed);
    return good;
}
