/* echo: sends back what it receives (RFC 862). The plugin to copy when you begin your own.
 *
 * A plugin is a descriptor and the functions in it. This one needs a single function: the host
 * accepts, buffers, limits and closes. No byte is copied: the buffer that the bytes were received
 * into is the buffer they are sent from. */
#include <berth/plugin.h>

/* Called on the connection's worker whenever bytes have arrived. */
static uint32_t BERTH_CALL received(struct berth_conn *conn, const struct berth_slice *data) {
    /* The slice is only borrowed. Sending consumes a reference, so one is added; the host releases
     * it when the bytes are sent. */
    conn->host->buffer_acquire(data->buffer);
    conn->host->send_slices(conn, data, 1);
    /* A send can only fail when the connection is ending, and then the host calls `closed`. */
    return data->size; /* all of it is consumed */
}

/* Static and constant: the host reads it, possibly for two generations of this plugin at once.
 */
static const struct berth_plugin echo = {
    .magic = BERTH_PLUGIN_MAGIC,
    .struct_size = sizeof(struct berth_plugin),
    .abi_major = BERTH_ABI_MAJOR,
    .abi_minor_built = BERTH_ABI_MINOR,
    .abi_draft = BERTH_ABI_DRAFT,
    .abi_minor_required = 0, /* it uses nothing that came later */
    .id = "echo",            /* as the file: echo.so, echo.dll */
    .name = "Echo",
    .version = "1.0.0",
    .vendor = "Berth",
    .licence = "MIT",
    .received = received,
};

/* The one symbol that a plugin exports. */
BERTH_EXPORT const struct berth_plugin *BERTH_CALL BERTH_PLUGIN_ENTRY(void) {
    return &echo;
}
