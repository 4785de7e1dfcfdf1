/* berth-load: puts load on a server and measures it; see options.c for what it can do. */
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
    struct result *result = &work->shared->results[process];
    struct error error;
    if (!load_run(work->options, result, &work->shared->gathering, process, &error)) {
        result_error(result, "%s", error.message);
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

int main(int argc, char **argv) {
    struct options options;
    struct error error;
    bool help;
    if (!options_parse(&options, argc, argv, &help, &error)) {
        fail(&error, EXIT_USAGE);
        fputs("see \"berth-load --help\"\n", stderr);
        return EXIT_USAGE;
    }
    if (help) {
        fputs(options_help, stdout);
        return EXIT_FINE;
    }
    if (!dialogue_start(&options, &error)) {
        return fail(&error, EXIT_USAGE);
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
    struct work work = {.options = &options, .shared = shared};
    if (options.processes == 1) {
        run(&work, 0);
    } else if (!transport_in_processes(options.processes, run, &work, &error)) {
        return fail(&error, EXIT_FAILED);
    }
    return report(&options, shared->results);
}
