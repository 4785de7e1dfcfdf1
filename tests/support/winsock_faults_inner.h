/* winsock_faults_inner.h: what the files of winsock_faults share; private to them. */
#ifndef BERTH_TESTS_ENGINE_WINSOCK_FAULTS_INNER_H
#define BERTH_TESTS_ENGINE_WINSOCK_FAULTS_INNER_H

#include "winsock_faults.h"

struct operation;

/* Counts the call; true when it is to fail, with the code set. */
bool fault_fails(enum fault_call call);

/* The system's socket behind a handle. */
SOCKET fault_real(SOCKET handle);

/* CancelIoEx, for real; the socket that an operation is about, where it is another one than the
 * handle, or INVALID_SOCKET. */
BOOL fault_cancel(HANDLE handle, OVERLAPPED *overlapped);
bool fault_cancel_stalled(OVERLAPPED *overlapped); /* whether it was a stalled disconnect */
SOCKET fault_closes(OVERLAPPED *overlapped);

/* The packet of the operation is not to be seen. */
void fault_swallow(OVERLAPPED *overlapped);
bool fault_completes_soon(OVERLAPPED *overlapped);

/* Notes what the operation is of, before it is started; what the caller is told of it then. */
struct operation *fault_operation(OVERLAPPED *overlapped, enum fault_call call);
bool fault_outcome(HANDLE handle, enum fault_call call, OVERLAPPED *overlapped, bool done,
                   DWORD *bytes);

/* -- winsock_faults_cancel.c ----------------------------------------------- */

void fault_cancel_reset(void);
bool fault_cancel_is_ignored(HANDLE handle, OVERLAPPED *overlapped);
void fault_cancel_of_closed(SOCKET socket);

/* -- winsock_faults_messages.c --------------------------------------------- */

extern LPFN_WSARECVMSG fault_real_receive_from;
extern LPFN_WSASENDMSG fault_real_send_to;

void fault_messages_reset(void);
bool fault_packets_provided(void);
bool fault_honours_source(void);
BOOL PASCAL fault_transmit_packets(SOCKET socket, TRANSMIT_PACKETS_ELEMENT *elements, DWORD count,
                                   DWORD piece, OVERLAPPED *overlapped, DWORD flags);
int WSAAPI fault_receive_from(SOCKET socket, WSAMSG *message, DWORD *received,
                              OVERLAPPED *overlapped, LPWSAOVERLAPPED_COMPLETION_ROUTINE routine);
int WSAAPI fault_send_to(SOCKET socket, WSAMSG *message, DWORD flags, DWORD *sent,
                         OVERLAPPED *overlapped, LPWSAOVERLAPPED_COMPLETION_ROUTINE routine);

#endif
