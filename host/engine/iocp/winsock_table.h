/* winsock_table.h: every call that the IOCP engine makes into Winsock and the completion ports, as
 * a table of functions.
 *
 * The host runs on winsock_system, whose members are the system's own functions. Tests install one
 * that injects what is rare on a real machine and does not happen on Wine: failing calls,
 * synchronous success, late and reordered completions (tests/support/winsock_faults.h). The
 * extension functions (AcceptEx, …) belong to a provider and come from the table's `ioctl`, so a
 * test can wrap them too.
 *
 * Owner: the code that defines the table; it outlives the engine. Threads: any. */
#ifndef BERTH_HOST_ENGINE_IOCP_WINSOCK_TABLE_H
#define BERTH_HOST_ENGINE_IOCP_WINSOCK_TABLE_H

#include <stdbool.h>

#include <winsock2.h>
/* In this order: ws2tcpip.h and mswsock.h need what winsock2.h and windows.h declare. */
#include <windows.h>
#include <ws2tcpip.h>

#include <mswsock.h>

struct winsock_table {
    /* Winsock. The names are those of ws2_32 without their prefix. */
    int(WSAAPI *startup)(WORD version, WSADATA *data);
    int(WSAAPI *cleanup)(void);
    int(WSAAPI *last_error)(void);
    SOCKET(WSAAPI *socket)
    (int family, int type, int protocol, WSAPROTOCOL_INFOW *information, GROUP group, DWORD flags);
    int(WSAAPI *close)(SOCKET socket);
    int(WSAAPI *bind)(SOCKET socket, const struct sockaddr *address, int size);
    int(WSAAPI *listen)(SOCKET socket, int backlog);
    int(WSAAPI *connect)(SOCKET socket, const struct sockaddr *address, int size);
    SOCKET(WSAAPI *accept)(SOCKET socket, struct sockaddr *address, int *size);
    int(WSAAPI *shutdown)(SOCKET socket, int how);
    int(WSAAPI *getsockname)(SOCKET socket, struct sockaddr *address, int *size);
    int(WSAAPI *getpeername)(SOCKET socket, struct sockaddr *address, int *size);
    int(WSAAPI *getsockopt)(SOCKET socket, int level, int name, char *value, int *size);
    int(WSAAPI *setsockopt)(SOCKET socket, int level, int name, const char *value, int size);
    int(WSAAPI *ioctl)(SOCKET socket, DWORD code, void *in, DWORD in_size, void *out,
                       DWORD out_size, DWORD *returned, OVERLAPPED *overlapped,
                       LPWSAOVERLAPPED_COMPLETION_ROUTINE routine);
    int(WSAAPI *ioctlsocket)(SOCKET socket, long command, u_long *argument);
    int(WSAAPI *recv)(SOCKET socket, char *bytes, int size, int flags);
    int(WSAAPI *wsa_recv)(SOCKET socket, WSABUF *buffers, DWORD count, DWORD *received,
                          DWORD *flags, OVERLAPPED *overlapped,
                          LPWSAOVERLAPPED_COMPLETION_ROUTINE routine);
    int(WSAAPI *wsa_send)(SOCKET socket, WSABUF *buffers, DWORD count, DWORD *sent, DWORD flags,
                          OVERLAPPED *overlapped, LPWSAOVERLAPPED_COMPLETION_ROUTINE routine);
    BOOL(WSAAPI *overlapped_result)
    (SOCKET socket, OVERLAPPED *overlapped, DWORD *bytes, BOOL wait, DWORD *flags);
    int(WSAAPI *event_select)(SOCKET socket, HANDLE event, long events);
    int(WSAAPI *enum_events)(SOCKET socket, HANDLE event, WSANETWORKEVENTS *events);

    /* Completion ports and waits. They report errors through GetLastError(), which Winsock uses as
     * well. */
    HANDLE(WINAPI *port_create)(HANDLE handle, HANDLE port, ULONG_PTR key, DWORD concurrency);
    BOOL(WINAPI *port_wait)
    (HANDLE port, OVERLAPPED_ENTRY *entries, ULONG max, ULONG *count, DWORD ms, BOOL alertable);
    BOOL(WINAPI *port_post)(HANDLE port, DWORD bytes, ULONG_PTR key, OVERLAPPED *overlapped);
    BOOL(WINAPI *set_modes)(HANDLE handle, UCHAR modes);
    BOOL(WINAPI *cancel)(HANDLE handle, OVERLAPPED *overlapped);
    BOOL(WINAPI *wait_register)
    (HANDLE *wait, HANDLE object, WAITORTIMERCALLBACK callback, void *context, ULONG ms,
     ULONG flags);
    BOOL(WINAPI *wait_unregister)(HANDLE wait, HANDLE event);
};

extern const struct winsock_table winsock_system;

/* The extension functions of one provider that listeners use. */
struct winsock_extensions {
    LPFN_ACCEPTEX accept_ex;
    LPFN_GETACCEPTEXSOCKADDRS accept_addresses;
    LPFN_DISCONNECTEX
    disconnect_ex; /* this one and the next: NULL when the provider has none */
    LPFN_TRANSMITFILE transmit_file;
};

/* Loads the functions of the provider that `socket` belongs to. False: a required one is missing;
 * the code is in last_error(). */
bool winsock_extensions_load(const struct winsock_table *winsock, SOCKET socket,
                             struct winsock_extensions *extensions);

/* The functions that connections use, outbound or accepted; NULL for those that the provider lacks.
 * According to Microsoft's documentation all versions of Windows have TransmitPackets; Wine has
 * none. */
struct winsock_connectex {
    LPFN_CONNECTEX connect_ex;
    LPFN_TRANSMITFILE transmit_file;
    LPFN_TRANSMITPACKETS transmit_packets;
};

void winsock_connectex_load(const struct winsock_table *winsock, SOCKET socket,
                            struct winsock_connectex *connectex);

#endif
