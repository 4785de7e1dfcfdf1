#include "engine/winsock_table.h"

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

static bool load(const struct winsock_table *winsock, SOCKET socket, GUID guid, void *function,
                 DWORD size) {
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
    if (!load(winsock, socket, accept_ex, &extensions->accept_ex, sizeof(extensions->accept_ex)) ||
        !load(winsock, socket, accept_addresses, &extensions->accept_addresses,
              sizeof(extensions->accept_addresses))) {
        return false;
    }
    if (!load(winsock, socket, disconnect_ex, &extensions->disconnect_ex,
              sizeof(extensions->disconnect_ex))) {
        extensions->disconnect_ex = NULL;
    }
    if (!load(winsock, socket, transmit_file, &extensions->transmit_file,
              sizeof(extensions->transmit_file))) {
        extensions->transmit_file = NULL;
    }
    return true;
}

void winsock_outward_load(const struct winsock_table *winsock, SOCKET socket,
                          struct winsock_outward *outward) {
    static const GUID connect_ex = WSAID_CONNECTEX;
    static const GUID transmit_file = WSAID_TRANSMITFILE;
    static const GUID transmit_packets = WSAID_TRANSMITPACKETS;
    if (!load(winsock, socket, connect_ex, &outward->connect_ex, sizeof(outward->connect_ex))) {
        outward->connect_ex = NULL;
    }
    if (!load(winsock, socket, transmit_file, &outward->transmit_file,
              sizeof(outward->transmit_file))) {
        outward->transmit_file = NULL;
    }
    if (!load(winsock, socket, transmit_packets, &outward->transmit_packets,
              sizeof(outward->transmit_packets))) {
        outward->transmit_packets = NULL;
    }
}
