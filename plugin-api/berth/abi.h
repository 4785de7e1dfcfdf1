/* abi.h: the rules that every other header of the plugin ABI obeys.
 *
 * - Fixed-width integers, pointers and structs cross the boundary. Enums, bit-fields, `long`,
 *   sockets and variable arguments do not: compilers disagree about them.
 * - A struct that may grow begins with `struct_size`, set by whoever fills it to the sizeof it was
 *   compiled with. It grows at its end only. The reader uses the smaller of the two sizes and takes
 *   what is missing as zero. Structs without a size (slices, addresses) never change.
 * - What is named `reserved` is 0, and whoever fills the struct sets it so: it may mean something
 *   one day, and then must not have been anything else before.
 * - Flags, reasons and statuses grow by new values. A plugin looks at the bits of `flags` that it
 *   knows and ignores the others, and takes a reason or a status that it does not know for the most
 *   general one. (The host refuses unknown bits of what a plugin sets.)
 * - A pointer to a struct of the host's (struct berth_host, berth_conn, berth_listener, …) is
 * passed on as it is: the host knows more behind it than the struct shows, so a copy is no
 * substitute.
 * - The process is the host's: a plugin does not exit, nor change signal handlers, the locale, the
 *   current folder, the environment, umask or standard streams. It logs with log().
 * - Text is UTF-8, terminated, and lives as long as its owner says; sizes are in bytes, times in
 *   milliseconds unless the name says otherwise.
 * - Every function names its thread in brackets:
 *     [control]   the one control thread; may block for a moment, never runs beside another
 *                 [control] call of the same plugin
 *     [listener]  any I/O worker, once the listener is open; may run on several at a time
 *     [conn]      the worker that owns the connection; the calls for one connection never overlap,
 *                 but they may come from different threads over time: keep no thread_local state
 *     [worker]    the thread of one given I/O worker
 *     [any]       every thread
 *   A plugin must not block in [conn], [worker] and [listener] calls: other clients wait behind it.
 *
 * ABI 1.0 is a release candidate: it may change until it is frozen. BERTH_ABI_RC says so. */
#ifndef BERTH_ABI_H
#define BERTH_ABI_H

#include <stdint.h>

#define BERTH_ABI_MAJOR 1
#define BERTH_ABI_MINOR 0
#define BERTH_ABI_RC 1 /* 0 once the ABI is frozen */

/* The calling convention, said aloud: it is the C one on every supported system. */
#if defined(_WIN32)
#define BERTH_CALL __cdecl
#define BERTH_EXPORT __declspec(dllexport)
#else
#define BERTH_CALL
#define BERTH_EXPORT __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
#define BERTH_BEGIN_DECLS extern "C" {
#define BERTH_END_DECLS }
#else
#define BERTH_BEGIN_DECLS
#define BERTH_END_DECLS
#endif

/* Whether a struct that came over the boundary is new enough to hold `member`. */
#define BERTH_HAS(pointer, member)                                                                 \
    ((uintptr_t)(pointer)->struct_size >=                                                          \
     (uintptr_t)((const char *)(&(pointer)->member + 1) - (const char *)(pointer)))

#endif
