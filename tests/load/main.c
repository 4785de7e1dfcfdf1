/* berth-load: puts load on a server and measures it; see options.c for what it can do. */
#include <inttypes.h>
#include <stdio.h>

#include "base/error.h"
#include "dialogue.h"
#include "load.h"
#include "options.h"
#include "report.h"
#include "result.h"
#include "transport.h"

enum { EXIT_FINE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* Shared by the processes of a run. */
struct shared {
    struct gathering gathering;
    struct result results[];
};

struct work {
    const struct options *options;
    struct shared *shared;
};

static int fail(const struct error *error, int code) {
    fprintf(stderr, "berth-load: %s\n", error->message);
    return code;
}

/* One that cannot begin must not keep the others waiting. */
static void run(void *argument, unsigned process) {
    const struct work *work = argument;
    struct result *results = work->shared->results;
    struct error error;
    if (!load_run(work->options, results, &work->shared->gathering, process, &error)) {
        result_error(&results[process], "%s", error.message);
        atomic_fetch_add(&work->shared->gathering.arrived, 1);
    }
}

static int report(const struct options *options, struct result *results) {
    struct error error;
    for (uint32_t i = 1; i < options->processes; i++) {
        result_merge(&results[0], &results[i]);
    }
    report_print(options, &results[0]);
    if (options->json && !report_write_json(options, &results[0], &error)) {
        return fail(&error, EXIT_FAILED);
    }
    return results[0].errors > 0 ? EXIT_FAILED : EXIT_FINE;
}

static int bad_usage(const struct error *error) {
    fail(error, EXIT_USAGE);
    fputs("see \"berth-load --help\"\n", stderr);
    return EXIT_USAGE;
}

static bool check_server_pids(const struct options *options, struct error *error) {
    for (uint32_t i = 0; i < options->server_pid_count; i++) {
        uint64_t used_ns;
        if (!transport_process_ns(options->server_pids[i], &used_ns)) {
            return error_set(error, "--server-pid: there is no process %" PRIu32,
                             options->server_pids[i]);
        }
    }
    return true;
}

/* What went wrong with the whole run stands among its errors: the results are told all the same. */
static void run_all(const struct options *options, struct shared *shared) {
    struct work work = {.options = options, .shared = shared};
    struct error error;
    if (options->processes == 1) {
        run(&work, 0);
    } else if (!transport_in_processes(options->processes, run, &work, &error)) {
        fail(&error, EXIT_FAILED);
        result_error(&shared->results[0], "%s", error.message);
    }
    if (transport_stop_asked()) {
        result_error(&shared->results[0], "it was asked to end early");
    }
}

int main(int argc, char **argv) {
    struct options options;
    struct error error;
    enum options_wish wish;
    if (!options_parse(&options, argc, argv, &wish, &error)) {
        return bad_usage(&error);
    }
    if (wish != OPTIONS_RUN) {
        fputs(wish == OPTIONS_HELP ? options_help : "berth-load " LOAD_VERSION "\n", stdout);
        return EXIT_FINE;
    }
    if (!check_server_pids(&options, &error) || !dialogue_start(&options, &error)) {
        return bad_usage(&error);
    }
    size_t size = sizeof(struct shared) + options.processes * sizeof(struct result);
    struct shared *shared = transport_shared_memory(size);
    if (!shared) {
        error_set(&error, "no memory");
        return fail(&error, EXIT_FAILED);
    }
    if (!transport_start(&error)) {
        return fail(&error, EXIT_FAILED);
    }
    atomic_store(&shared->gathering.expected, options.processes);
    run_all(&options, shared);
    return report(&options, shared->results);
}
