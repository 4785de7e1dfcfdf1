#include "engine/iocp/winsock_table.h"

const struct winsock_table winsock_system = {
    .startup = WSAStartup,
    .cleanup = WSACleanup,
    .last_error = WSAGetLastError,
    .socket = WSASocketW,
    .close = closesocket,
    .bind = bind,
    .listen = listen,
    .connect = connect,
    .accept = accept,
    .shutdown = shutdown,
    .getsockname = getsockname,
    .getpeername = getpeername,
    .getsockopt = getsockopt,
    .setsockopt = setsockopt,
    .ioctl = WSAIoctl,
    .ioctlsocket = ioctlsocket,
    .recv = recv,
    .wsa_recv = WSARecv,
    .wsa_send = WSASend,
    .overlapped_result = WSAGetOverlappedResult,
    .event_select = WSAEventSelect,
    .enum_events = WSAEnumNetworkEvents,
    .port_create = CreateIoCompletionPort,
    .port_wait = GetQueuedCompletionStatusEx,
    .port_post = PostQueuedCompletionStatus,
    .set_modes = SetFileCompletionNotificationModes,
    .cancel = CancelIoEx,
    .wait_register = RegisterWaitForSingleObject,
    .wait_unregister = UnregisterWaitEx,
};

static bool winsock_table_load(const struct winsock_table *winsock, SOCKET socket, GUID guid,
                               void *function, DWORD size) {
    DWORD returned = 0;
    return winsock->ioctl(socket, SIO_GET_EXTENSION_FUNCTION_POINTER, &guid, sizeof(guid), function,
                          size, &returned, NULL, NULL) == 0;
}

bool winsock_extensions_load(const struct winsock_table *winsock, SOCKET socket,
                             struct winsock_extensions *extensions) {
    static const GUID accept_ex = WSAID_ACCEPTEX;
    static const GUID accept_addresses = WSAID_GETACCEPTEXSOCKADDRS;
    static const GUID disconnect_ex = WSAID_DISCONNECTEX;
    static const GUID transmit_file = WSAID_TRANSMITFILE;
    if (!winsock_table_load(winsock, socket, accept_ex, &extensions->accept_ex,
                            sizeof(extensions->accept_ex)) ||
        !winsock_table_load(winsock, socket, accept_addresses, &extensions->accept_addresses,
                            sizeof(extensions->accept_addresses))) {
        return false;
    }
    if (!winsock_table_load(winsock, socket, disconnect_ex, &extensions->disconnect_ex,
                            sizeof(extensions->disconnect_ex))) {
        extensions->disconnect_ex = NULL;
    }
    if (!winsock_table_load(winsock, socket, transmit_file, &extensions->transmit_file,
                            sizeof(extensions->transmit_file))) {
        extensions->transmit_file = NULL;
    }
    return true;
}

void winsock_connectex_load(const struct winsock_table *winsock, SOCKET socket,
                            struct winsock_connectex *connectex) {
    static const GUID connect_ex = WSAID_CONNECTEX;
    static const GUID transmit_file = WSAID_TRANSMITFILE;
    static const GUID transmit_packets = WSAID_TRANSMITPACKETS;
    if (!winsock_table_load(winsock, socket, connect_ex, &connectex->connect_ex,
                            sizeof(connectex->connect_ex))) {
        connectex->connect_ex = NULL;
    }
    if (!winsock_table_load(winsock, socket, transmit_file, &connectex->transmit_file,
                            sizeof(connectex->transmit_file))) {
        connectex->transmit_file = NULL;
    }
    if (!winsock_table_load(winsock, socket, transmit_packets, &connectex->transmit_packets,
                            sizeof(connectex->transmit_packets))) {
        connectex->transmit_packets = NULL;
    }
}
