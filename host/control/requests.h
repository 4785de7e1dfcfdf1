/* requests.h: what can be asked of a running host: a JSON text a line, and one in answer.
 *
 *     {"berth": 1, "verb": "restart", "names": ["echo"]}
 *     {"berth": 1, "ok": true, "code": 0, "host": {"name": …, "pid": …, …}, "result": {…}}
 *     {"berth": 1, "ok": false, "code": 78, "host": {…}, "errors": ["…"]}
 *
 * "berth" is the version of this language; `code` is the exit code that the command line ends with.
 * Verbs: host, status, listeners, plugins; pause, resume, restart and release with "names" (as
 * in names.h) or "all": true; reload with "dry_run"; stop
 * with "now". Whatever else stands in a request, or behind it, has it refused, and nothing is done.
 *
 * Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_REQUESTS_H
#define BERTH_HOST_CONTROL_REQUESTS_H

#include <stddef.h>
#include <stdint.h>

struct service;

enum { REQUESTS_VERSION = 1, REQUEST_NAMES_MAX = 1024 };

/* The verb that says who answers: its result is empty, as every answer says so under "host". */
#define REQUESTS_IDENTITY "host"
#define IDENTITY_REQUEST "{\"berth\":1,\"verb\":\"" REQUESTS_IDENTITY "\"}"

/* The answer to exactly that request, as identity.h sends it, whatever the control thread does;
 * NULL: it is another one. [any] */
char *requests_answer_at_once(const struct service *service, const char *text, size_t size);

/* Does what is asked for by the text, which is terminated. The answer is the caller's to free;
 * NULL: no memory. */
char *requests_answer(struct service *service, const char *text, size_t size);

/* The answer to a request that the control thread has not come to for so long: `status` says what
 * keeps it, `stop` is noted, and the rest is refused in the end. NULL: not yet, or no memory. [any]
 */
char *requests_answer_busy(struct service *service, const char *text, size_t size,
                           uint64_t waited_ms);

#endif
