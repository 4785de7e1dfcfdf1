#include "plugin/plugin_datagram.h"

#include "base/address.h"
#include "engine/engine.h"
#include "net/conn/listener_core.h"
#include "net/lib/buffer.h"
#include "net/lib/plugin_slice.h"
#include "net/listen/datagrams.h"
#include "net/listen/listen_socket.h"
#include "plugin/plugin_fault.h"

/* What fits into a datagram of IPv4: 65535 less the headers of IP and UDP (RFC 768). */
enum { DATAGRAM_BYTES_MAX = 65507 };

/* The socket of the listener that a datagram from that address goes out by. */
static struct engine_listener *socket_for(const struct listener *listener,
                                          const struct berth_address *local) {
    for (size_t i = 0; i < listener->listen_socket_count; i++) {
        struct berth_address bound = listen_socket_address(listener->listen_sockets[i]);
        bool same_family = bound.family == local->family ||
                           (bound.family == BERTH_FAMILY_IPV6 && !listener->options.v6_only);
        if (bound.port == local->port &&
            (address_equal(&bound, local) || (same_family && address_is_any(&bound)))) {
            return listener->listen_sockets[i]->socket;
        }
    }
    return NULL;
}

int32_t plugin_datagram_send(struct listener *listener, const struct berth_address *from,
                             const struct berth_address *to, const struct berth_slice *given) {
    struct berth_address plain[] = {*from, *to};
    const struct berth_address *local = &plain[0];
    const struct berth_address *remote = &plain[1];
    struct berth_slice data;
    const char *wrong = plugin_slice_take(given, &data);
    if (wrong == plugin_slice_unknown) {
        return BERTH_E_UNSUPPORTED;
    }
    if (wrong) {
        plugin_fault_of_listener(listener, "send() of a datagram was given a slice %s", wrong);
        return BERTH_E_INVALID;
    }
    address_unmap(&plain[0]);
    address_unmap(&plain[1]);
    struct engine_listener *socket =
        listener->options.datagrams ? socket_for(listener, local) : NULL;
    if (!socket || remote->port == 0 || remote->family == BERTH_FAMILY_NONE ||
        data.size > DATAGRAM_BYTES_MAX) {
        buffer_release(data.buffer);
        return BERTH_E_INVALID;
    }
    uint32_t size = data.size;
    int64_t result;
    struct engine_buffer buffer = {data.buffer, data.bytes, data.size};
    if (!datagrams_answer(listener, local, remote, &buffer, &result)) {
        result = engine_datagram_send(socket, local, remote, data.bytes, data.size);
        buffer_release(data.buffer);
    }
    if (result < 0) {
        listener_count(&listener->counters.datagrams_unsent);
        return result == ENGINE_E_NO_RESOURCES  ? BERTH_E_LIMIT
               : result == ENGINE_E_UNREACHABLE ? BERTH_E_UNREACHABLE
                                                : BERTH_E_FAILED;
    }
    listener_count(&listener->counters.datagrams_sent);
    atomic_fetch_add_explicit(&listener->counters.bytes_sent, size, memory_order_relaxed);
    return BERTH_OK;
}
