/* assert.h: asserts facts that only a defect of the host itself can break. On in release builds.
 *
 * One fact an assertion, without side effects. Hostile input and mistakes of plugins are errors
 * and never assertions.
 *
 * Checks assert facts that hold between the parts of an object, after every turn. They cost a walk
 * through its lists, so they are on only in builds with tests and with sanitizers (the
 * option `checks` of meson). */
#ifndef BERTH_HOST_BASE_ASSERT_H
#define BERTH_HOST_BASE_ASSERT_H

#define ASSERT(fact) ((fact) ? (void)0 : assert_failed(#fact, __FILE__, __LINE__))

#ifdef BERTH_CHECKS
enum { CHECKS = 1 };
#else
enum { CHECKS = 0 };
#endif

_Noreturn void assert_failed(const char *fact, const char *file, int line);

#endif
