/* assert.h: facts that only a defect of the host itself can break. On in release builds.
 *
 * One fact an assertion, without side effects. Hostile input and mistakes of plugins are errors
 * and never assertions. */
#ifndef BERTH_HOST_BASE_ASSERT_H
#define BERTH_HOST_BASE_ASSERT_H

#define ASSERT(fact) ((fact) ? (void)0 : assert_failed(#fact, __FILE__, __LINE__))

_Noreturn void assert_failed(const char *fact, const char *file, int line);

#endif
