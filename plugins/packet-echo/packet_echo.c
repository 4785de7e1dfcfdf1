/* packet-echo: echoes whole packets. A packet begins with one byte that is its length and counts
 * itself, so a packet has 1 to 255 bytes; a length of 0 closes the connection.
 *
 * TCP has no packets: one may come byte by byte, or many in one piece. The plugin only looks at
 * what is there, takes the whole packets from the front, and leaves the rest to the host, which
 * delivers it again with the following bytes. */
#include <berth/plugin.h>

static uint32_t BERTH_CALL received(struct berth_conn *conn, const struct berth_slice *data) {
    const struct berth_host *host = conn->host;
    uint32_t whole = 0; /* bytes of whole packets, from the front */
    while (whole < data->size && data->bytes[whole] != 0 &&
           data->bytes[whole] <= data->size - whole) {
        whole += data->bytes[whole];
    }
    if (whole > 0) {
        /* All of them in one slice, not copied: sending consumes a reference to the buffer. */
        struct berth_slice packets = *data;
        packets.size = whole;
        host->buffer_acquire(packets.buffer);
        host->send_slices(conn, &packets, 1);
    }
    if (whole == data->size) {
        host->want_at_least(conn, 1);
    } else if (data->bytes[whole] == 0) {
        host->close(conn); /* what was queued is still sent */
        return data->size;
    } else {
        host->want_at_least(conn,
                            data->bytes[whole]); /* no call of `received` before the whole packet */
    }
    return whole;
}

static const struct berth_plugin packet_echo = {
    .magic = BERTH_PLUGIN_MAGIC,
    .struct_size = sizeof(struct berth_plugin),
    .abi_major = BERTH_ABI_MAJOR,
    .abi_minor_built = BERTH_ABI_MINOR,
    .abi_draft = BERTH_ABI_DRAFT,
    .abi_minor_required = 0,
    .id = "packet-echo",
    .name = "Packet echo",
    .version = "1.0.0",
    .vendor = "Berth",
    .licence = "MIT",
    .received = received,
};

BERTH_EXPORT const struct berth_plugin *BERTH_CALL BERTH_PLUGIN_ENTRY(void) {
    return &packet_echo;
}
