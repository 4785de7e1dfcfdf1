/* abi.h: the rules that hold for every other header of the plugin ABI, and its history.
 *
 * - Fixed-width integers, pointers and structs cross the boundary. Enums, bit-fields, `long`,
 *   sockets and variable arguments do not: compilers disagree about them.
 * - A struct that may grow begins with `struct_size`. The side that fills the struct sets it to the
 *   sizeof that it was compiled with. A struct grows at its end only. The reader uses the smaller
 * of the two sizes and takes what is missing as zero. Structs without a size (slices, addresses)
 * never change.
 * - A struct that a plugin fills for a call is a request. What the host does not know of it must be
 *   zero: bytes after the members that the host has, `reserved` members, and bits of flags. Else
 *   the call returns BERTH_E_UNSUPPORTED and has no effect, except that it consumes the references
 *   which it always consumes. So an older host never silently ignores what a plugin asks
 *   for: the plugin gets the status and can go on without. A request has at most
 * BERTH_REQUEST_BYTES_MAX.
 * - A member named `reserved` is 0, and the side that fills the struct sets it to 0. It may get a
 *   meaning later, which requires that older plugins and hosts have set it to 0.
 * - Flags, reasons, statuses, limits and address families grow by new values. A plugin looks at the
 *   bits of `flags` that it knows and ignores the others, and takes a value that it does not know
 *   for the most general one.
 * - Members within the struct_size of the host's table and of an extension are never NULL: what
 *   BERTH_HAS() says is there can be called. What a system cannot do returns BERTH_E_UNSUPPORTED.
 * - Names: "berth." at the front of an extension's name is this project's. Others use a domain of
 *   their own, reversed ("org.example.ledger/1"), for extensions as for metrics. An extension that
 *   is not released is "berth.x/0.N", and each of its drafts has another N; a draft is never
 *   renamed into the released one, which is "berth.x/1": a plugin built for the draft does not find
 *   it.
 * - A pointer to a struct of the host's (struct berth_host, berth_conn, berth_listener, …) is
 *   passed on as it is. The host's object is larger than the struct, so a copy cannot be passed.
 * - The process is the host's: a plugin does not exit, nor change signal handlers, the locale, the
 *   current folder, the environment, umask or standard streams. It logs with log().
 * - Text is UTF-8, terminated, and lives as long as its owner says; sizes are in bytes, times in
 *   milliseconds unless the name says otherwise.
 * - Every function names its thread in brackets:
 *     [control]   the one control thread; may block for a moment, never runs beside another
 *                 [control] call of the same plugin
 *     [listener]  any I/O worker, once the listener is open; may run on several at a time
 *     [conn]      the worker that owns the connection: one and the same thread for all calls of a
 *                 connection, from the first to `closed`, and the calls never overlap
 *     [worker]    the thread of one given I/O worker, the same for as long as the host runs
 *     [any]       every thread
 *   A plugin must not block in [conn], [worker] and [listener] calls: other clients of that worker
 *   wait meanwhile.
 *
 * Versions: BERTH_ABI_MAJOR.BERTH_ABI_MINOR. ABI 1.0 is a release candidate. Until it is frozen it
 * may change in any way, and each change is another draft: BERTH_ABI_DRAFT. The descriptor says for
 * which draft a plugin was built, and a draft loads on a host of that very draft alone. At the
 * freeze BERTH_ABI_DRAFT becomes 0 and the descriptor's magic changes for the last time, so that no
 * binary of a candidate, of any draft, can be taken for a released one.
 *
 * History, the newest first:
 *   1.0 draft 2  `abi_draft` in the descriptor, in the place of `reserved`. Requests: what the host
 *                does not know must be zero (BERTH_E_UNSUPPORTED); a slice's `reserved` likewise,
 *                which was a fault. `busy` gets struct berth_busy. struct berth_datagram has
 *                `worker`, struct berth_listener `send_queue_bytes` and `send_queue_pieces`.
 *                want_at_least() is for the next call of `received` only. The hard cap of the send
 *                queue counts what is left once a callback has returned. post_worker() and
 *                submit_for_listener() from any thread. A listener's timer says its worker.
 *                connect_for_listener(). log_fields(), unix_time_ns(), random_bytes().
 *                "berth.metrics/1". BERTH_PLUGIN_EXCLUSIVE, `check_config`, `handover` (still
 *                without a meaning), `listener_draining`, `worker_start`, `worker_end`.
 *                BERTH_ADDRESS_TEXT_MAX is 256, and was 64.
 *   1.0 draft 1  The first candidate. Its descriptors have 0 where `abi_draft` is now. A longer
 *                descriptor with 0 there is of a later draft, and its source leaves `abi_draft`
 * out; `berth plugin validate` says so.
 *
 * Reserved for later versions, without a meaning yet:
 *   hand-over    berth_plugin.handover: NULL
 *   TLS          facts at the end of struct berth_conn_info, and a flag of struct berth_conn. A
 *                plugin sees plain bytes, and `opened` when they can flow
 *   elsewhere    the end of every struct that has a size */
#ifndef BERTH_ABI_H
#define BERTH_ABI_H

#include <stdint.h>

#define BERTH_ABI_MAJOR 1
#define BERTH_ABI_MINOR 0
#define BERTH_ABI_DRAFT 2 /* of the candidate; 0 once the ABI is frozen */

#define BERTH_REQUEST_BYTES_MAX UINT32_C(4096) /* the largest struct_size of a request */

/* The calling convention, made explicit: the one of C on every supported system. */
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

/* Whether a struct from the other side of the boundary is new enough to have `member`. */
#define BERTH_HAS(pointer, member)                                                                 \
    ((uintptr_t)(pointer)->struct_size >=                                                          \
     (uintptr_t)((const char *)(&(pointer)->member + 1) - (const char *)(pointer)))

#endif
