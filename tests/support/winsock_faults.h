/* winsock_faults.h: a Winsock for tests that does what a healthy machine seldom does, and Wine
 * never.
 *
 * It is the system's, over real sockets, until it is told otherwise: to let calls fail, to report
 * failure for operations that went well, to complete at once what would have been pending and the
 * reverse, and to hold completions back and let them go in another order.
 *
 * Threads: the test's, which runs the port; but for the posts to a port, which may come from any.
 */
#ifndef BERTH_TESTS_ENGINE_WINSOCK_FAULTS_H
#define BERTH_TESTS_ENGINE_WINSOCK_FAULTS_H

#include <stdbool.h>

#include "engine/iocp/winsock_table.h"

enum fault_call {
    FAULT_STARTUP,
    FAULT_SOCKET,
    FAULT_BIND,
    FAULT_LISTEN,
    FAULT_SHUTDOWN,
    FAULT_SETSOCKOPT,
    FAULT_IOCTL,
    FAULT_CONNECT,
    FAULT_ACCEPT,       /* AcceptEx */
    FAULT_PLAIN_ACCEPT, /* accept */
    FAULT_DISCONNECT,   /* DisconnectEx */
    FAULT_TRANSMIT,     /* TransmitFile */
    FAULT_PACKETS,      /* TransmitPackets */
    FAULT_CONNECT_EX,   /* ConnectEx */
    FAULT_CLOSE,        /* closesocket: counted only */
    FAULT_RECEIVE,      /* WSARecv */
    FAULT_READ,         /* recv */
    FAULT_SEND,         /* WSASend */
    FAULT_RECEIVE_FROM, /* WSARecvMsg */
    FAULT_SEND_TO,      /* WSASendMsg */
    FAULT_EVENT_SELECT,
    FAULT_PORT_CREATE, /* also when a handle is bound to a port */
    FAULT_PORT_POST,
    FAULT_PORT_WAIT,
    FAULT_SET_MODES,
    FAULT_CANCEL, /* CancelIoEx: counted only */
    FAULT_WAIT_REGISTER,
    FAULT_CALLS
};

extern const struct winsock_table winsock_faults;

/* Back to the system's behaviour, counts at zero. */
void faults_reset(void);

/* Lets `pass` more calls go by, then fails `count` of them with the code. */
void faults_fail(enum fault_call call, unsigned pass, unsigned count, int code);

/* The next `count` completions of accepts, receives or sends report the code. */
void faults_complete(enum fault_call call, unsigned count, int code);

/* The next `count` accepts, receives or sends succeed before the call returns (it waits for that),
 * or say that they are pending although they did. */
void faults_at_once(enum fault_call call, unsigned count);
void faults_later(enum fault_call call, unsigned count);

/* Holds back the completions of operations from now on; releases them, the last one first. */
void faults_hold(void);
void faults_release_reversed(void);
unsigned faults_held(void);

/* Makes DisconnectEx or TransmitFile (call) do what the documents say, whatever the system below
 * does: the socket's second life is another socket of the system, behind the same handle. */
void faults_mend_reuse(enum fault_call call);

/* From now on the sender of a datagram can choose its address, as far as it can tell. What the
 * last one chose, "" when it did not. */
void faults_honour_source(void);
const char *faults_source(void);

/* Before the engine is made: gives the provider a TransmitPackets, which reads the elements and
 * sends all of it like memory. What the last call was given. */
struct fault_packets {
    unsigned count;
    TRANSMIT_PACKETS_ELEMENT elements[16];
};
void faults_provide_packets(void);
const struct fault_packets *faults_packets(void);

/* Before the engine is made: the provider does not have the extension function. */
void faults_withhold(enum fault_call call);

/* ConnectEx takes no more of the first data than that. */
void faults_limit_connect_data(unsigned bytes);

/* Lets disconnects be pending for ever, until they are cancelled. */
void faults_stall_disconnects(bool stall);

/* From now on cancels say that they have succeeded, and do nothing: what they are about goes on
 * until its socket is closed (of an accept, the one that is to be accepted with). How many there
 * were. */
void faults_ignore_cancels(bool ignore);
unsigned faults_ignored_cancels(void);

/* The next `count` receives of datagrams, for which one waits, say at once that it is too large for
 * the buffer, whatever its size; with a packet in the port, or without. */
void faults_oversize_at_once(unsigned count, bool with_packet);
unsigned faults_oversized(void); /* how many did */

/* How often WSAIoctl was called with that code. */
unsigned faults_ioctls(DWORD code);

/* How many sockets of that type there are whose operations leave no packet when they succeed at
 * once. */
unsigned faults_skipping(int type);

/* How many calls were made, and how many of the things asked for above have come to pass. */
unsigned faults_calls(enum fault_call call);
unsigned faults_injected(enum fault_call call);

/* The most operations of the kind that were in flight at once, as the caller saw it. */
unsigned faults_in_flight_max(enum fault_call call);

#endif
