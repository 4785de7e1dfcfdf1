/* requests.h: the requests to a running host: one JSON text a line, answered by one line.
 *
 *      {"berth": 1, "verb": "restart", "names": ["echo"]}
 *      {"berth": 1, "ok": true, "code": 0, "host": {"name": …, "pid": …, …}, "result": {…}}
 *      {"berth": 1, "ok": false, "code": 78, "host": {…}, "errors": ["…"]}
 *
 * "berth" is the version of the protocol; `code` is the exit code of the command line. Verbs:
 * host, status, listeners, plugins; pause, resume, restart and release with "names" (as in
 * names.h) or "all": true; reload with "dry_run"; stop with "now". A request with any other
 * member, or with text after it, is refused, and nothing is done.
 *
 * Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_REQUESTS_H
#define BERTH_HOST_CONTROL_REQUESTS_H

#include <stddef.h>
#include <stdint.h>

struct service;

enum { REQUESTS_VERSION = 1, REQUEST_NAMES_MAX = 1024 };

/* The verb that identifies the host: its result is empty, as every answer has the identity under
 * "host". */
#define REQUESTS_IDENTITY "host"
#define IDENTITY_REQUEST "{\"berth\":1,\"verb\":\"" REQUESTS_IDENTITY "\"}"

/* The answer to exactly IDENTITY_REQUEST, as identity.h sends it, whatever the control thread
 * does; NULL: it is another request. [any] */
char *requests_answer_at_once(const struct service *service, const char *text, size_t size);

/* Carries out the request in the text, which is NUL-terminated. The caller frees the answer;
 * NULL: no memory. */
char *requests_answer(struct service *service, const char *text, size_t size);

/* The answer to a request that the control thread has not taken for `waited_ms`: `status` says
 * what blocks it, `stop` is noted, and other requests are refused in the end. NULL: not yet, or
 * no memory. [any] */
char *requests_answer_busy(struct service *service, const char *text, size_t size,
                           uint64_t waited_ms);

#endif
