// Counts the bytes and lines of each connection and says both when the client has finished.
#include <berth/plugin.hpp>

#include <algorithm>

namespace {

class Tally : public berth::Session {
  public:
    std::size_t received(berth::Connection, berth::Bytes data) {
        bytes_ += data.size();
        lines_ += std::count(data.text().begin(), data.text().end(), '\n');
        return data.size();
    }

    void peer_closed(berth::Connection conn) {
        conn.send(std::to_string(bytes_) + " bytes, " + std::to_string(lines_) + " lines\n");
        conn.close();
    }

  private:
    std::uint64_t bytes_ = 0;
    std::ptrdiff_t lines_ = 0;
};

} // namespace

BERTH_CPP_PLUGIN(Tally, "tally", "Tally", "1.0.0")
