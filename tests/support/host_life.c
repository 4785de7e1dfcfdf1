#include "host_life.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "control/error_report.h"
#include "control/reconcile.h"
#include "control/runtime.h"
#include "engine/engine.h"
#include "manifest/json.h"
#include "manifest/manifest.h"
#include "net/listen/listener.h"
#include "os/os.h"
#include "os/os_private.h"
#include "os/os_process.h"
#include "peer.h"
#include "plugin/load_probe.h"

enum {
    PATIENCE_MS = 20000,
    FILE_BYTES = 300000,
    TRIES = 5,        /* of a client whom a failure may have cut */
    BUDGET_MS = 2500, /* for lives of one kind: as many as fit */
    LIVES_MIN = 4,
};

static const char manifest_text[] =
    "{\"manifest\": 1,"
    " \"host\": {\"name\": \"failing\", \"workers\": 2, \"control\": false%s},"
    " \"listeners\": {"
    "  \"early\": {\"address\": \"127.0.0.1:0\", \"plugin\": \"echo\","
    "              \"accept\": {\"when\": \"data\"}, \"limits\": {\"connections\": %u}},"
    "  \"late\": {\"address\": \"127.0.0.1:0\", \"plugin\": \"echo\"},"
    "  \"datagrams\": {\"address\": \"127.0.0.1:0\", \"plugin\": \"datagram\","
    "                  \"transport\": \"udp\"},"
    "  \"web\": {\"address\": \"127.0.0.1:0\", \"plugin\": \"http\", \"config\": {\"root\": \".\"}}"
    "%s}}";

static char plugins_folder[OS_PATH_MAX];

struct life {
    struct runtime runtime;
    struct os_private *folder;
    char path[OS_PATH_MAX];
    char file[OS_PATH_MAX];
    char host[64];  /* more of the manifest's */
    bool may_fail;  /* some of it */
    bool stays_out; /* a client may have to wait until nothing fails any more */
};

/* -- what is done with a host ---------------------------------------------- */

static struct config_snapshot *config_snapshot_of(const struct life *life, unsigned limit,
                                                  const char *more) {
    char text[2048];
    struct manifest_errors errors = {0};
    int size = snprintf(text, sizeof(text), manifest_text, life->host, limit, more);
    assert_in_range(size, 1, sizeof(text) - 1);
    struct manifest *manifest = manifest_parse(life->path, text, (size_t)size, &errors);
    struct config_snapshot *config_snapshot = manifest ? config_snapshot_create(manifest) : NULL;
    if (!config_snapshot && !life->may_fail && errors.count > 0) {
        fail_msg("%s", errors.items[0].message);
    }
    manifest_errors_fini(&errors);
    return config_snapshot;
}

/* Whether it was done. If not it is said: an operator would wait for what never comes. */
static bool apply(struct life *life, struct config_snapshot *config_snapshot, bool restart) {
    struct reconcile_options options = {.restart_all = restart};
    struct reconcile_counts counts;
    struct reconcile_problems problems = {0};
    bool done = reconcile_apply(&life->runtime, config_snapshot, &options, &counts, &problems);
    assert_int_equal(done, error_report_code(&problems) == 0);
    if (!done && !life->may_fail) {
        error_report_log(&problems, life->path);
        fail_msg("a change failed where nothing was to fail");
    }
    reconcile_problems_fini(&problems);
    return done;
}

static bool reload(struct life *life, unsigned limit, const char *more) {
    struct config_snapshot *config_snapshot = config_snapshot_of(life, limit, more);
    bool done = config_snapshot && apply(life, config_snapshot, false);
    config_snapshot_release(config_snapshot);
    return done;
}

static bool restart(struct life *life) {
    return apply(life, life->runtime.config_snapshot, true);
}

static const struct listener *listener_of(const struct life *life, const char *name) {
    const struct listener_generation *generation = runtime_generation(&life->runtime, name);
    assert_non_null(generation);
    return generation->listener;
}

/* A word and its echo. False: the connection was cut, which is heard. */
static bool talk(struct peer peer) {
    char answer[5];
    size_t got = 0;
    if (!peer_send(peer, "hello", 5)) {
        return false;
    }
    while (got < sizeof(answer)) {
        ptrdiff_t received = peer_receive(peer, answer + got, sizeof(answer) - got);
        assert_int_not_equal(received, PEER_NOTHING);
        if (received <= 0) {
            return false;
        }
        got += (size_t)received;
    }
    assert_memory_equal(answer, "hello", 5);
    return true;
}

/* A file by HTTP. False: it was refused, or the connection cut, which is heard. */
static bool fetch(struct peer peer) {
    static const char request[] = "GET /file HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    static const char served[] = "HTTP/1.1 200 ";
    static char answer[FILE_BYTES + 4096];
    size_t got = 0;
    ptrdiff_t received = 0;
    if (!peer_send(peer, request, sizeof(request) - 1)) {
        return false;
    }
    do {
        received = peer_receive(peer, answer + got, sizeof(answer) - got);
        assert_int_not_equal(received, PEER_NOTHING);
        got += received > 0 ? (size_t)received : 0;
    } while (received > 0 && got < sizeof(answer));
    return received == PEER_FIN && got > FILE_BYTES &&
           memcmp(answer, served, sizeof(served) - 1) == 0 && answer[got - 1] == 'z';
}

static bool is_served(struct peer peer, const char *name) {
    return strcmp(name, "web") == 0 ? fetch(peer) : talk(peer);
}

static struct peer client(const struct life *life, const char *name) {
    struct peer peer;
    struct berth_address to = listener_address(listener_of(life, name), 0);
    assert_true(peer_connect(&peer, &to));
    return peer;
}

/* A client is served, perhaps not at its first try. While all fails it may be for the backlog. */
static struct peer expect_served(const struct life *life, const char *name) {
    struct peer peer = client(life, name);
    if (life->stays_out) {
        return peer;
    }
    for (int i = 0; i < TRIES; i++) {
        if (is_served(peer, name)) {
            return peer;
        }
        peer_close(peer);
        peer = client(life, name);
    }
    fail_msg("nobody is served");
    return NO_PEER;
}

static void look_after(struct life *life) {
    uint64_t start_ms = os_now_ms();
    while (life->runtime.retired && os_now_ms() - start_ms < PATIENCE_MS) {
        if (runtime_look_after(&life->runtime) >= 0 || life->runtime.retired) {
            peer_pause(1);
        }
    }
    assert_null(life->runtime.retired);
}

static void stop(struct life *life) {
    struct runtime *runtime = &life->runtime;
    uint64_t start_ms = os_now_ms();
    const struct listener_generation *generation;
    runtime_stop(runtime);
    for (generation = runtime->serving; generation; generation = generation->next) {
        listener_stop_accepting(generation->listener);
    }
    runtime_abort_all(runtime);
    while (runtime_connections(runtime) > 0) {
        assert_true(os_now_ms() - start_ms < PATIENCE_MS);
        peer_pause(1);
    }
    runtime_destroy(runtime);
}

/* -- lives ----------------------------------------------------------------- */

static void serve_while_failing(struct life *life) {
    static const char another[] =
        ", \"another\": {\"address\": \"127.0.0.1:0\", \"plugin\": \"echo\"}";
    struct peer early = expect_served(life, "early");
    struct peer late = expect_served(life, "late");
    peer_close(expect_served(life, "web"));
    reload(life, 100, "");
    reload(life, 100, another);
    peer_close(expect_served(life, "early"));
    restart(life);
    if (!life->stays_out) {
        talk(late); /* on the old generation; or it was cut, and hears so */
    }
    peer_close(expect_served(life, "early"));
    reload(life, 50, "");
    peer_close(early);
    peer_close(late);
}

/* Nothing fails any more: all of it can be done. */
static void serve(struct life *life) {
    static const char another[] =
        ", \"another\": {\"address\": \"127.0.0.1:0\", \"plugin\": \"echo\"}";
    life->may_fail = life->stays_out = false;
    assert_true(reload(life, 70, another));
    assert_true(restart(life));
    peer_close(expect_served(life, "early"));
    peer_close(expect_served(life, "late"));
    peer_close(expect_served(life, "another"));
    peer_close(expect_served(life, "web"));
    look_after(life);
}

static void file_make(struct life *life) {
    static char bytes[FILE_BYTES];
    memset(bytes, 'z', sizeof(bytes));
    assert_true(
        os_path_join(life->file, sizeof(life->file), os_private_path(life->folder), "file"));
    FILE *stream = fopen(life->file, "wb");
    assert_non_null(stream);
    assert_int_equal(fwrite(bytes, 1, sizeof(bytes), stream), sizeof(bytes));
    assert_int_equal(fclose(stream), 0);
}

static void life_begin(struct life *life) {
    struct error error = {0};
    const char *engine = getenv("TEST_ENGINE");
    if (engine && strcmp(engine, "epoll") == 0) {
        snprintf(life->host, sizeof(life->host), ", \"engine\": \"epoll\"");
    } else if (engine && strcmp(engine, "io_uring-direct") == 0) {
        snprintf(life->host, sizeof(life->host), ", \"direct_descriptors\": 64");
    }
    life->folder = os_private_create(NULL, &error);
    assert_non_null(life->folder);
    assert_true(
        os_path_join(life->path, sizeof(life->path), os_private_path(life->folder), "m.json"));
}

void host_live(const struct life_plan *plan) {
    static struct life life;
    struct error error = {0};
    life = (struct life){.may_fail = plan != NULL, .stays_out = plan && plan->lasts};
    life_begin(&life);
    file_make(&life);
    long live_before = alloc_live();
    if (plan) {
        plan->begin(plan, false);
    }
    struct config_snapshot *config_snapshot = config_snapshot_of(&life, 1000, "");
    bool starts = config_snapshot &&
                  runtime_init(&life.runtime, config_snapshot->manifest, plugins_folder, &error) &&
                  apply(&life, config_snapshot, false);
    config_snapshot_release(config_snapshot);
    if (starts) {
        serve_while_failing(&life);
    }
    if (plan) {
        plan->end();
    }
    if (starts) {
        serve(&life);
    }
    if (plan) {
        plan->begin(plan, true);
    }
    stop(&life);
    if (plan) {
        plan->end();
    }
    assert_int_equal(alloc_live(), live_before);
    os_file_remove(life.file);
    os_private_remove(life.folder);
}

static void live_one(const struct life_plan *plan, long number) {
    struct life_plan one = *plan;
    one.number = number;
    host_live(&one);
}

void host_live_each(const struct life_plan *plan, long total, const char *variable) {
    const char *single = getenv(variable);
    if (single) {
        live_one(plan, strtol(single, NULL, 10));
        return;
    }
    uint64_t start_ms = os_now_ms();
    host_live(NULL);
    long lives = BUDGET_MS / (long)(os_now_ms() - start_ms + 1);
    long stride = total / (lives > LIVES_MIN ? lives : LIVES_MIN) + 1;
    long offset = (long)(os_now_ms() % (uint64_t)stride);
    for (long i = offset; i < total; i += stride) {
        printf("%ld of %ld\n", i, total);
        fflush(stdout);
        live_one(plan, i);
    }
    printf("every %ldth from %ld of %ld has failed\n", stride, offset, total);
}

void host_life_main(int argc, char **argv) {
    char folder[OS_PATH_MAX];
    struct error error = {0};
    if (argc == 4 && strcmp(argv[1], LOAD_PROBE_VERB) == 0) {
        trial_take(argv[2], argv[3]); /* the host starts its own program for that */
    }
    json_setup();
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    if (!os_executable_folder(folder, sizeof(folder), &error) ||
        !os_path_join(plugins_folder, sizeof(plugins_folder), folder, "../plugins")) {
        fprintf(stderr, "%s\n", error.message);
        abort();
    }
}
