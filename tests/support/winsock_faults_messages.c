/* winsock_faults_messages.c: TransmitPackets, and datagrams with the sender's choice of its
 * address: what Wine has not, or ignores. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/macros.h"
#include "winsock_faults_inner.h"

enum { COPIES_MAX = 64 };

LPFN_WSARECVMSG fault_real_receive_from;
LPFN_WSASENDMSG fault_real_send_to;

static bool packets_provided;
static struct fault_packets packets;
static char *copies[COPIES_MAX]; /* of what packets are sent: until the reset */
static unsigned copies_count;
static bool honours_source;
static char source[64];
static unsigned oversize;
static unsigned oversized;
static bool oversize_with_packet;

void fault_messages_reset(void) {
    packets_provided = false;
    memset(&packets, 0, sizeof(packets));
    while (copies_count > 0) {
        free(copies[--copies_count]);
    }
    honours_source = false;
    source[0] = '\0';
    oversize = 0;
    oversized = 0;
}

unsigned faults_oversized(void) {
    return oversized;
}

void faults_oversize_at_once(unsigned count, bool with_packet) {
    oversize = count;
    oversize_with_packet = with_packet;
}

bool fault_packets_provided(void) {
    return packets_provided;
}

bool fault_honours_source(void) {
    return honours_source;
}

void faults_honour_source(void) {
    honours_source = true;
}

const char *faults_source(void) {
    return source;
}

void faults_provide_packets(void) {
    packets_provided = true;
}

const struct fault_packets *faults_packets(void) {
    return &packets;
}

/* -- TransmitPackets, which Wine has not ----------------------------------- */

/* All the elements' bytes in one piece of memory, which stays until the reset. */
static char *packets_copy(const TRANSMIT_PACKETS_ELEMENT *elements, DWORD count, DWORD *size) {
    *size = 0;
    for (DWORD i = 0; i < count; i++) {
        ASSERT(elements[i].cLength > 0); /* it would be the whole file */
        *size += elements[i].cLength;
    }
    char *copy = malloc(*size);
    ASSERT(copy != NULL);
    ASSERT(copies_count < COPIES_MAX);
    copies[copies_count++] = copy;
    for (DWORD i = 0; i < count; i++) {
        const TRANSMIT_PACKETS_ELEMENT *element = &elements[i];
        DWORD got = element->cLength;
        if (element->dwElFlags == TP_ELEMENT_MEMORY) {
            memcpy(copy, element->pBuffer, got);
        } else {
            ASSERT(element->dwElFlags == TP_ELEMENT_FILE);
            OVERLAPPED place = {.Offset = element->nFileOffset.LowPart,
                                .OffsetHigh = (DWORD)element->nFileOffset.HighPart};
            if (!ReadFile(element->hFile, copy, got, &got, &place) || got < element->cLength) {
                WSASetLastError(ERROR_HANDLE_EOF);
                return NULL;
            }
        }
        copy += got;
    }
    return copies[copies_count - 1];
}

BOOL PASCAL fault_transmit_packets(SOCKET socket, TRANSMIT_PACKETS_ELEMENT *elements, DWORD count,
                                   DWORD piece, OVERLAPPED *overlapped, DWORD flags) {
    (void)piece;
    (void)flags;
    if (fault_fails(FAULT_PACKETS)) {
        return FALSE;
    }
    ASSERT(count > 0 && count <= ARRAY_COUNT(packets.elements));
    packets.count = count;
    memcpy(packets.elements, elements, count * sizeof(*elements));
    fault_operation(overlapped, FAULT_PACKETS);
    WSABUF buffer;
    buffer.buf = packets_copy(elements, count, &buffer.len);
    if (!buffer.buf) {
        return FALSE;
    }
    DWORD sent = 0;
    bool done = WSASend(fault_real(socket), &buffer, 1, &sent, 0, overlapped, NULL) == 0;
    return fault_outcome((HANDLE)socket, FAULT_PACKETS, overlapped, done, &sent);
}

/* -- datagrams ------------------------------------------------------------- */

int WSAAPI fault_receive_from(SOCKET socket, WSAMSG *message, DWORD *received,
                              OVERLAPPED *overlapped, LPWSAOVERLAPPED_COMPLETION_ROUTINE routine) {
    if (fault_fails(FAULT_RECEIVE_FROM)) {
        return SOCKET_ERROR;
    }
    fault_operation(overlapped, FAULT_RECEIVE_FROM);
    bool done = fault_real_receive_from(socket, message, received, overlapped, routine) == 0;
    if (oversize > 0 &&
        (done || (WSAGetLastError() == WSA_IO_PENDING && fault_completes_soon(overlapped)))) {
        oversize--;
        oversized++;
        if (!oversize_with_packet) {
            fault_swallow(overlapped);
        }
        overlapped->Internal = (ULONG_PTR)0x80000005; /* STATUS_BUFFER_OVERFLOW */
        WSASetLastError(WSAEMSGSIZE);
        return SOCKET_ERROR;
    }
    return fault_outcome((HANDLE)socket, FAULT_RECEIVE_FROM, overlapped, done, received)
               ? 0
               : SOCKET_ERROR;
}

int WSAAPI fault_send_to(SOCKET socket, WSAMSG *message, DWORD flags, DWORD *sent,
                         OVERLAPPED *overlapped, LPWSAOVERLAPPED_COMPLETION_ROUTINE routine) {
    if (fault_fails(FAULT_SEND_TO)) {
        return SOCKET_ERROR;
    }
    const WSACMSGHDR *header = WSA_CMSG_FIRSTHDR(message);
    source[0] = '\0';
    if (header && header->cmsg_level == IPPROTO_IP && header->cmsg_type == IP_PKTINFO) {
        IN_PKTINFO info;
        memcpy(&info, WSA_CMSG_DATA(header), sizeof(info));
        strcpy(source, inet_ntoa(info.ipi_addr));
    }
    WSAMSG plain = *message;
    plain.Control = (WSABUF){0, NULL};
    return fault_real_send_to(socket, honours_source ? &plain : message, flags, sent, overlapped,
                              routine);
}
