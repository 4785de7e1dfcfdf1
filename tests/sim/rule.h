/* rule.h: how a world ends that breaks a rule: the process prints `SEED rule` and exits with 1. */
#ifndef BERTH_TESTS_SIM_RULE_H
#define BERTH_TESTS_SIM_RULE_H

#include <stdint.h>

#include "base/macros.h"

/* From now on this seed is played. Violations of engine.h and assertions of the host are broken
 * rules too. */
void rule_begin(uint64_t seed);

_Noreturn void rule_broken(const char *format, ...) BERTH_PRINTF(1, 2);

#define RULE(fact, ...) ((fact) ? (void)0 : rule_broken(__VA_ARGS__))

#endif
