#include "rule.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "engine/sim/sim.h"
#include "replaced.h"

static uint64_t seed;

_Noreturn void rule_broken(const char *format, ...) {
    char rule[1024];
    va_list arguments;
    alloc_fail_after(-1, false);
    va_start(arguments, format);
    vsnprintf(rule, sizeof(rule), format, arguments); // NOLINT(clang-analyzer-valist.Uninitialized)
    va_end(arguments);
    printf("%llu %s\n", (unsigned long long)seed, rule);
    fflush(stdout);
    _Exit(EXIT_FAILURE);
}

/* In place of the host's own, which writes to the log and aborts. */
_Noreturn void assert_failed(const char *fact, const char *file, int line) {
    rule_broken("assertion of the host: %s:%d: expected %s", file, line, fact);
}

static void on_violation(const char *text, void *context) {
    (void)context;
    rule_broken("contract of the engine: %s", text);
}

void rule_begin(uint64_t of) {
    seed = of;
    replaced_seed(of);
    sim_on_violation(on_violation, NULL);
}
