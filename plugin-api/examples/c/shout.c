#include <berth/plugin.h>

/* Answers every line with the same line in capitals. */
static uint32_t BERTH_CALL received(struct berth_conn *conn, const struct berth_slice *data) {
    uint32_t consumed = 0;
    for (uint32_t i = 0; i < data->size; i++) {
        uint8_t c = data->bytes[i];
        data->bytes[i] = c >= 'a' && c <= 'z' ? (uint8_t)(c - 'a' + 'A') : c;
        if (c == '\n') {
            consumed = i + 1; /* what follows the last newline comes again, with more after it */
        }
    }
    conn->host->send(conn, data->bytes, consumed);
    return consumed;
}

static const struct berth_plugin shout = {
    .magic = BERTH_PLUGIN_MAGIC,
    .struct_size = sizeof(struct berth_plugin),
    .abi_major = BERTH_ABI_MAJOR,
    .abi_minor_built = BERTH_ABI_MINOR,
    .abi_draft = BERTH_ABI_DRAFT,
    .id = "shout",
    .name = "Shout",
    .version = "1.0.0",
    .received = received,
};

BERTH_EXPORT const struct berth_plugin *BERTH_CALL BERTH_PLUGIN_ENTRY(void) {
    return &shout;
}
