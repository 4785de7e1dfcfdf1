/* os_child.h: this program started again as a supervised child, and a link between the two.
 *
 * The link carries messages, each whole or not at all, and listening sockets, which are duplicated
 * on their way. A child whose parent ends is asked to stop. Owner: the verb. Threads: [control];
 * os_link_send() and os_link_last_send() [any]. */
#ifndef BERTH_HOST_OS_OS_CHILD_H
#define BERTH_HOST_OS_OS_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "os/os.h"

struct error;
struct os_child;
struct os_link;

#define OS_NO_SOCKET ((intptr_t)-1)

enum os_child_event {
    OS_CHILD_NOTHING, /* the time-out passed */
    OS_CHILD_SAYS,    /* a message waits in its link; reported before its end */
    OS_CHILD_ENDED,
    OS_CHILD_STOP, /* this process is asked to stop, or to reload: see os_signals_wait() */
    OS_CHILD_RELOAD,
};

enum os_end_by {
    OS_END_BY_ITSELF, /* by an exit code; on Windows by an exception */
    OS_END_BY_KILL, /* by SIGKILL: from itself, from the system's out-of-memory killer, or from any
                       process */
    OS_END_BY_ANY,  /* Windows, with a code that TerminateProcess() may have set */
};

struct os_child_end {
    bool crashed; /* by a signal, an exception, or with a code that no verb returns */
    enum os_end_by by;
    int code;      /* of the program, if it has not crashed */
    char text[64]; /* "signal 11", "exit code 3" */
};

/* Whether this system supports children. False: the error says why. Called once. */
bool os_child_init(struct error *error);

/* `arguments` follow the program's name, up to a NULL; after them comes the argument for
 * os_link_open(). Both processes have `shared_bytes` of memory, zeroed, which outlives the child:
 * os_link_shared() is the child's side. A system that refuses such memory starts the child without
 * it. */
struct os_child *os_child_start(const char *const *arguments, size_t shared_bytes,
                                struct error *error);
/* With no child: only the last two events. */
enum os_child_event os_child_wait(struct os_child *child, int timeout_ms);
struct os_link *os_child_link(struct os_child *child);
struct os_child_end os_child_end(const struct os_child *child); /* once it has ended */
/* Copies what the child has written into the shared memory. It may contain anything: any code that
 * ran in the child could write there. False: there is no such memory. */
bool os_child_shared_copy(const struct os_child *child, void *copy, size_t size);
void os_child_ask(struct os_child *child, enum os_signal signal);
void os_child_kill(struct os_child *child);    /* ends it at once; that is a crash */
void os_child_destroy(struct os_child *child); /* once it has ended */

/* The child's end. */
struct os_link *os_link_open(const char *text, struct error *error);
/* The memory that it shares with its parent, mapped until the process ends; NULL: there is none of
 * that size. Once. */
void *os_link_shared(struct os_link *link, size_t size);
bool os_link_send(struct os_link *link, const void *bytes, size_t size, intptr_t socket);
/* For a crash: does not wait for anything. */
void os_link_last_send(struct os_link *link, const void *bytes, size_t size);
/* Waits for a message of that size; *socket is the caller's, or OS_NO_SOCKET. False: none came. */
bool os_link_receive(struct os_link *link, void *bytes, size_t size, intptr_t *socket,
                     int timeout_ms);
void os_link_close(struct os_link *link); /* NULL is legal */
void os_child_socket_close(intptr_t socket);

#endif
