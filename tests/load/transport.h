/* transport.h: what the client needs from a system: sockets by number, a clock, and processes.
 *
 * load_linux.c implements it with epoll, load_windows.c with a completion port; nothing else in the
 * client knows a system. A slot is a place for one connection at a time. The transport tells its
 * owner what happens through `struct transport_events`, always from within transport_wait() and
 * never from within another call, so that an event may call anything here.
 *
 * The life of a slot: transport_connect(), `connected`; then transport_send() and `sendable`,
 * `received`, `finished`, `failed`; transport_close(), and last `closed`: from then on, and not
 * before, the slot may connect again. After transport_close() only `closed` comes.
 *
 * Threads: one for each transport. */
#ifndef BERTH_LOAD_TRANSPORT_H
#define BERTH_LOAD_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "berth/address.h"

struct error;
struct transport;

#define TRANSPORT_ALL SIZE_MAX
#define TRANSPORT_REASON_MAX 64

struct transport_events {
    void (*connected)(void *owner, uint32_t slot);
    void (*received)(void *owner, uint32_t slot, const uint8_t *bytes, size_t size);
    void (*finished)(void *owner, uint32_t slot); /* the server's FIN, behind all bytes */
    void (*sendable)(void *owner, uint32_t slot); /* after a send that took less than all */
    void (*failed)(void *owner, uint32_t slot);   /* see transport_reason(); close it */
    void (*closed)(void *owner, uint32_t slot);
};

/* -- the program ----------------------------------------------------------- */

bool transport_start(struct error *error); /* first of all */
uint64_t transport_now_ns(void);           /* monotonic */

/* Whether somebody has asked the program to end (Ctrl-C, SIGTERM): once; a second time ends it. */
bool transport_stop_asked(void);

/* The processor time that a process has used; 0 on a system where it cannot be told. False when
 * there is no such process. */
bool transport_process_ns(uint32_t pid, uint64_t *used_ns);

/* Runs work(argument, index) in so many processes of its own and waits for them. They do not
 * outlive this one, hear from it that they shall stop, and stop when one comes to a bad end. False
 * when a system cannot, or when one did. */
bool transport_in_processes(unsigned count, void (*work)(void *argument, unsigned index),
                            void *argument, struct error *error);
void *transport_shared_memory(size_t size); /* zeroed; never given back */

/* -- sockets --------------------------------------------------------------- */

struct transport *transport_create(uint32_t slots, const struct transport_events *events,
                                   void *owner, struct error *error);
void transport_destroy(struct transport *transport); /* NULL is legal */

/* Begins to connect; the result is `connected` or `failed`. A NULL `from` is the system's choice.
 */
void transport_connect(struct transport *transport, uint32_t slot, const struct berth_address *from,
                       const struct berth_address *to);

/* Returns how many bytes were taken, 0 for none: then, or when fewer than all, `sendable` comes.
 * The bytes must stay where they are (those of pattern.h do). */
size_t transport_send(struct transport *transport, uint32_t slot, const uint8_t *bytes,
                      size_t size);

/* How many bytes may still be received; TRANSPORT_ALL to begin with. */
void transport_allow(struct transport *transport, uint32_t slot, size_t bytes);

void transport_close(struct transport *transport, uint32_t slot, bool reset);

/* Why the slot failed, in the system's words. */
void transport_reason(struct transport *transport, uint32_t slot, char *text, size_t size);

/* Waits at most so long, then tells what has happened. */
void transport_wait(struct transport *transport, uint64_t timeout_ns);

#endif
