// Counts the bytes and lines of each connection and says both when the client has finished.
//
// What C++ asks for: no exception and no longjmp may leave a callback; the state of a connection is
// zeroed memory of the host's, so objects are made in it in `opened` and ended in `closed`.
#include <berth/cpp_unload.hpp>
#include <berth/plugin.h>

#include <cstdint>
#include <exception>
#include <new>
#include <string>

namespace {

class Tally {
  public:
    void count(const berth_slice &data) {
        bytes_ += data.size;
        for (std::uint32_t i = 0; i < data.size; i++) {
            lines_ += data.bytes[i] == '\n' ? 1 : 0;
        }
    }

    void say(berth_conn *conn) const {
        const std::string text =
            std::to_string(bytes_) + " bytes, " + std::to_string(lines_) + " lines\n";
        conn->host->send(conn, text.data(), static_cast<std::uint32_t>(text.size()));
    }

  private:
    std::uint64_t bytes_ = 0;
    std::uint64_t lines_ = 0;
};

Tally &tally_of(berth_conn *conn) {
    return *static_cast<Tally *>(conn->state);
}

void BERTH_CALL opened(berth_conn *conn) {
    new (conn->state) Tally;
}

std::uint32_t BERTH_CALL received(berth_conn *conn, const berth_slice *data) {
    tally_of(conn).count(*data);
    return data->size;
}

void BERTH_CALL peer_closed(berth_conn *conn) {
    try {
        tally_of(conn).say(conn);
    } catch (const std::exception &) { // there is no memory for the text
        conn->host->abort(conn);
        return;
    }
    conn->host->close(conn);
}

void BERTH_CALL closed(berth_conn *conn, std::uint32_t) {
    tally_of(conn).~Tally();
}

// Members by name are C++20; this is C++17, and what is not set is zero.
constexpr berth_plugin describe() {
    berth_plugin plugin{};
    plugin.magic = BERTH_PLUGIN_MAGIC;
    plugin.struct_size = sizeof(berth_plugin);
    plugin.abi_major = BERTH_ABI_MAJOR;
    plugin.abi_minor_built = BERTH_ABI_MINOR;
    plugin.abi_draft = BERTH_ABI_DRAFT;
    plugin.conn_state_size = sizeof(Tally);
    plugin.id = "tally";
    plugin.name = "Tally";
    plugin.version = "1.0.0";
    plugin.opened = opened;
    plugin.received = received;
    plugin.peer_closed = peer_closed;
    plugin.closed = closed;
    return plugin;
}

constexpr berth_plugin tally = describe();

} // namespace

BERTH_EXPORT const berth_plugin *BERTH_CALL BERTH_PLUGIN_ENTRY() {
    return &tally;
}
