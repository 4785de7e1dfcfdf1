// Echo with Boost.Asio, as its examples have it: a session has a buffer of its own, reads some, writes
// all of it, and so on.
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio.hpp>

namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

struct Options {
    unsigned short port = 0;
    std::size_t buffer_bytes = 16384;
    unsigned long long close_after = 0;
    int backlog = 4096;
};

Options options;

class Session : public std::enable_shared_from_this<Session> {
  public:
    explicit Session(tcp::socket socket) : socket_(std::move(socket)), buffer_(options.buffer_bytes) {}

    void read() {
        auto self = shared_from_this();
        socket_.async_read_some(asio::buffer(buffer_),
                                [this, self](error_code code, std::size_t size) {
                                    if (!code) {
                                        write(size);
                                    }
                                });
    }

  private:
    void write(std::size_t size) {
        auto self = shared_from_this();
        asio::async_write(socket_, asio::buffer(buffer_, size),
                          [this, self](error_code code, std::size_t sent) {
                              echoed_ += sent;
                              bool ends = options.close_after > 0 && echoed_ >= options.close_after;
                              if (!code && !ends) {
                                  read();
                              }
                          });
    }

    tcp::socket socket_;
    std::vector<char> buffer_;
    unsigned long long echoed_ = 0;
};

void accept(tcp::acceptor &acceptor) {
    acceptor.async_accept([&acceptor](error_code code, tcp::socket socket) {
        if (!code) {
            socket.set_option(tcp::no_delay(true), code);
            std::make_shared<Session>(std::move(socket))->read();
        } else {
            std::cout << "refused: " << code.message() << std::endl;
        }
        accept(acceptor);
    });
}

void read_options(int count, char **words) {
    for (int i = 1; i + 1 < count; i += 2) {
        std::string word = words[i];
        unsigned long long value = std::strtoull(words[i + 1], nullptr, 10);
        if (word == "--port") {
            options.port = static_cast<unsigned short>(value);
        } else if (word == "--buffer") {
            options.buffer_bytes = value;
        } else if (word == "--close-after") {
            options.close_after = value;
        } else if (word == "--backlog") {
            options.backlog = static_cast<int>(value);
        } else {
            std::cerr << "unknown option " << word << std::endl;
            std::exit(2);
        }
    }
}

} // namespace

int main(int argc, char **argv) {
    read_options(argc, argv);
    asio::io_context context(1); // one thread: no locks
    tcp::acceptor acceptor(context);
    acceptor.open(tcp::v4());
    acceptor.set_option(tcp::acceptor::reuse_address(true));
    acceptor.bind({asio::ip::address_v4::loopback(), options.port});
    acceptor.listen(options.backlog);
    std::cout << "listening on 127.0.0.1:" << acceptor.local_endpoint().port() << std::endl;
    accept(acceptor);
    context.run();
}
