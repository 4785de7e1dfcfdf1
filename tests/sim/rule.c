#include "rule.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "engine/sim/sim.h"

static uint64_t seed;
static uint64_t random_state;

_Noreturn void rule_broken(const char *format, ...) {
    char rule[1024];
    va_list arguments;
    alloc_fail_after(-1, false);
    va_start(arguments, format);
    vsnprintf(rule, sizeof(rule), format, arguments);
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

/* In place of the system's, for keys of hash tables and the like. */
void __wrap_os_random(void *bytes, size_t size);  // NOLINT(bugprone-reserved-identifier)
void __wrap_os_random(void *bytes, size_t size) { // NOLINT(bugprone-reserved-identifier)
    for (size_t i = 0; i < size; i++) {
        random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        ((uint8_t *)bytes)[i] = (uint8_t)(random_state >> 56);
    }
}

void rule_begin(uint64_t of) {
    seed = random_state = of;
    sim_on_violation(on_violation, NULL);
}
