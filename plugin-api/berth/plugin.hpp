// plugin.hpp: plugins in C++17. A class is a connection; the host calls its members.
//
//     #include <berth/plugin.hpp>
//
//     struct Shout : berth::Session {
//         std::size_t received(berth::Connection conn, berth::Bytes data) {
//             conn.send(in_capitals(data.text()));
//             return data.size(); // all of it is consumed
//         }
//     };
//     BERTH_CPP_PLUGIN(Shout, "shout", "Shout", "1.0.0")
//
// The session is made in `opened` and destroyed in `closed`, in the state that the host keeps for
// the connection. It is made from a berth::Connection where it has such a constructor. Members that
// it may have, and when they are called, are those of plugin.h:
//     std::size_t received(Connection, Bytes)          required
//     void peer_closed(Connection)                     without it: close()
//     void filled(Connection), drained(Connection)
//     void closed(Connection, std::uint32_t reason)    then the destructor
//     std::uint32_t closing(Connection, std::uint32_t reason)
//     using Service = …;   made from a berth::Listener in `listener_open`, shared by the sessions:
//                          conn.service<Service>(). Several workers use it at a time. What it
//                          throws refuses the start, with the words of the exception.
//     static constexpr std::uint32_t flags = …;        BERTH_PLUGIN_*
//     static constexpr const char *config_schema = …;  config_schema_json
//
// Exceptions end at the boundary: what a member throws is logged with the connection, which is
// reset. It also compiles without exceptions (-fno-exceptions).
//
// Threads are those of the C functions behind (host.h). A Connection is valid only within a call
// that it was passed to; its id() outlives it. Everything here is compiled into the plugin: nothing
// of C++ crosses the boundary.
#ifndef BERTH_PLUGIN_HPP
#define BERTH_PLUGIN_HPP

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "berth.h"
#include "cpp_unload.hpp"

#if defined(__cpp_exceptions) || defined(_CPPUNWIND)
#define BERTH_CPP_TRY try
#define BERTH_CPP_CATCH(failure, consequence)                                                      \
    catch (const std::exception &failure) {                                                        \
        consequence(failure.what());                                                               \
    }                                                                                              \
    catch (...) {                                                                                  \
        consequence("an exception that is no std::exception");                                     \
    }
#else
#define BERTH_CPP_TRY
#define BERTH_CPP_CATCH(failure, consequence)
#endif

namespace berth {

// -- bytes -----------------------------------------------------------------------------------------

// A reference to a buffer of the host's, and the run of bytes in it that is meant. Given back by the
// destructor, or consumed by Connection::send().
class Buffer {
  public:
    Buffer() = default;
    // Room for at least `size` bytes; size() is all there is, resize() what is filled. Empty when
    // there is no memory, or the size is beyond BERTH_BUFFER_BYTES_MAX.
    static Buffer create(const berth_host *host, std::uint32_t size) {
        Buffer made;
        made.host_ = host;
        if (host->buffer_create(host, size, &made.slice_) != BERTH_OK) {
            made.slice_ = {};
        }
        return made;
    }
    // One reference more to a slice that is lent.
    static Buffer share(const berth_host *host, const berth_slice &lent) {
        Buffer made;
        host->buffer_acquire(lent.buffer);
        made.host_ = host;
        made.slice_ = lent;
        return made;
    }
    Buffer(Buffer &&other) noexcept
        : host_(other.host_), slice_(std::exchange(other.slice_, berth_slice{})) {}
    Buffer &operator=(Buffer &&other) noexcept {
        if (this != &other) {
            reset();
            host_ = other.host_;
            slice_ = std::exchange(other.slice_, berth_slice{});
        }
        return *this;
    }
    Buffer(const Buffer &) = delete;
    Buffer &operator=(const Buffer &) = delete;
    ~Buffer() { reset(); }

    explicit operator bool() const { return slice_.buffer != nullptr; }
    std::uint8_t *data() { return slice_.bytes; }
    const std::uint8_t *data() const { return slice_.bytes; }
    std::uint32_t size() const { return slice_.size; }
    void resize(std::uint32_t size) { slice_.size = size < slice_.size ? size : slice_.size; }
    std::string_view text() const {
        return {reinterpret_cast<const char *>(slice_.bytes), slice_.size};
    }
    // The run without its first bytes.
    void skip(std::uint32_t bytes) {
        bytes = bytes < slice_.size ? bytes : slice_.size;
        slice_.bytes += bytes;
        slice_.size -= bytes;
    }
    // Another reference to the same bytes.
    Buffer clone() const { return *this ? share(host_, slice_) : Buffer{}; }
    // The caller owns the reference now.
    berth_slice release() { return std::exchange(slice_, berth_slice{}); }
    void reset() {
        if (slice_.buffer) {
            host_->buffer_release(slice_.buffer);
            slice_ = {};
        }
    }

  private:
    const berth_host *host_ = nullptr;
    berth_slice slice_{};
};

// Bytes that are lent until the callback returns. The plugin may change them where they lie.
class Bytes {
  public:
    Bytes(const berth_host *host, const berth_slice &slice) : host_(host), slice_(slice) {}
    std::uint8_t *data() const { return slice_.bytes; }
    std::uint32_t size() const { return slice_.size; }
    std::string_view text() const {
        return {reinterpret_cast<const char *>(slice_.bytes), slice_.size};
    }
    // A run of them, to be kept for longer or to be sent without a copy.
    Buffer keep(std::uint32_t offset = 0, std::uint32_t size = UINT32_MAX) const {
        berth_slice part = slice_;
        offset = offset < part.size ? offset : part.size;
        part.bytes += offset;
        part.size -= offset;
        part.size = size < part.size ? size : part.size;
        return Buffer::share(host_, part);
    }

  private:
    const berth_host *host_;
    berth_slice slice_;
};

// -- listeners and connections ---------------------------------------------------------------------

class Listener {
  public:
    explicit Listener(const berth_listener *listener) : listener_(listener) {}
    const berth_listener *get() const { return listener_; }
    const berth_host *host() const { return listener_->host; }
    std::string_view name() const { return listener_->name; }
    const char *config_json() const { return listener_->config_json; }
    void log(std::uint32_t level, std::string_view text) const {
        host()->log(host(), level, text.data(), static_cast<std::uint32_t>(text.size()));
    }

  private:
    const berth_listener *listener_;
};

class Connection {
  public:
    explicit Connection(berth_conn *conn) : conn_(conn) {}
    berth_conn *get() const { return conn_; }
    const berth_host *host() const { return conn_->host; }
    Listener listener() const { return Listener(conn_->listener); }
    std::uint64_t id() const { return conn_->id; }
    std::uint32_t worker() const { return conn_->worker; }
    bool is_outbound() const { return (conn_->flags & BERTH_CONN_OUTBOUND) != 0; }

    // BERTH_OK, or BERTH_E_* of berth_host.send(). Nothing is sent of what is empty.
    std::int32_t send(std::string_view copied) const {
        return copied.empty() ? BERTH_OK
                              : host()->send(conn_, copied.data(),
                                             static_cast<std::uint32_t>(copied.size()));
    }
    std::int32_t send(Buffer &&buffer) const {
        if (!buffer || buffer.size() == 0) {
            buffer.reset();
            return BERTH_OK;
        }
        const berth_slice slice = buffer.release();
        return host()->send_slices(conn_, &slice, 1);
    }
    std::int32_t shutdown_send() const { return host()->shutdown_send(conn_); }
    void close() const { host()->close(conn_); }
    void abort() const { host()->abort(conn_); }
    void receive_pause() const { host()->receive_pause(conn_); }
    void receive_resume() const { host()->receive_resume(conn_); }
    std::int32_t want_at_least(std::uint32_t size) const {
        return host()->want_at_least(conn_, size);
    }
    berth_conn_info info() const {
        berth_conn_info info{};
        info.struct_size = sizeof(info);
        host()->conn_info(conn_, &info);
        return info;
    }
    void log(std::uint32_t level, std::string_view text) const {
        host()->conn_log(conn_, level, text.data(), static_cast<std::uint32_t>(text.size()));
    }
    // What the sessions of the listener share: their Service.
    template <class Service> Service &service() const {
        return *static_cast<Service *>(conn_->listener->state);
    }

  private:
    berth_conn *conn_;
};

inline std::string to_text(const berth_host *host, const berth_address &address) {
    char text[BERTH_ADDRESS_TEXT_MAX];
    return {text, host->address_format(host, &address, text, sizeof(text))};
}

// -- what may go wrong -----------------------------------------------------------------------------

namespace detail {

inline void failed(berth_conn *conn, const char *what) noexcept {
    std::size_t size = 0;
    while (what[size] != '\0') {
        size++;
    }
    conn->host->conn_log(conn, BERTH_LOG_ERROR, what, static_cast<std::uint32_t>(size));
    conn->host->abort(conn);
}

} // namespace detail

// -- timers, works and posts -----------------------------------------------------------------------

// Calls function() of a connection's, once each start(). Destroyed with the session, or before.
template <class Function> class Timer {
  public:
    // is_there() tells whether there was memory, and room in "limits.timers".
    Timer(Connection conn, Function function) : conn_(conn.get()), function_(std::move(function)) {
        host_ = static_cast<const berth_timer_host *>(
            conn.host()->query(conn.host(), BERTH_TIMER_ID));
        timer_ = host_ ? host_->create_for_conn(conn_, run, this) : nullptr;
    }
    Timer(const Timer &) = delete;
    Timer &operator=(const Timer &) = delete;
    ~Timer() {
        if (timer_) {
            host_->destroy(timer_);
        }
    }
    bool is_there() const { return timer_ != nullptr; }
    void start(std::uint64_t delay_ms) {
        if (timer_) {
            host_->start(timer_, delay_ms);
        }
    }
    void stop() {
        if (timer_) {
            host_->stop(timer_);
        }
    }

  private:
    static void BERTH_CALL run(berth_timer *, void *argument) {
        Timer *self = static_cast<Timer *>(argument);
        const auto end = [conn = self->conn_](const char *what) { detail::failed(conn, what); };
        BERTH_CPP_TRY { self->function_(); }
        BERTH_CPP_CATCH(failure, end)
        static_cast<void>(end);
    }

    berth_conn *conn_;
    Function function_;
    const berth_timer_host *host_ = nullptr;
    berth_timer *timer_ = nullptr;
};

// Runs work() on a thread of the pool, then done(conn, status) on the connection's worker; conn is
// NULL when it has ended (work.h). A work that throws is done with BERTH_E_FAILED. The work must not
// touch the session: what it needs is moved into it, and what it finds kept in it, where done() gets
// it by reference: done(Connection *, std::int32_t, Work &). Not BERTH_OK: neither will run.
template <class Work, class Done>
std::int32_t submit(Connection conn, Work work, Done done) {
    struct Task {
        Work work;
        Done done;
        std::int32_t status;
        static void BERTH_CALL run(void *argument) {
            Task *self = static_cast<Task *>(argument);
            const auto end = [self](const char *) { self->status = BERTH_E_FAILED; };
            BERTH_CPP_TRY { self->work(); }
            BERTH_CPP_CATCH(failure, end)
            static_cast<void>(end);
        }
        static void BERTH_CALL finish(berth_conn *conn, std::int32_t status, void *argument) {
            const std::unique_ptr<Task> self(static_cast<Task *>(argument));
            const auto end = [conn](const char *what) {
                if (conn) {
                    detail::failed(conn, what);
                }
            };
            BERTH_CPP_TRY {
                const std::int32_t result = status == BERTH_OK ? self->status : status;
                Connection there(conn);
                self->done(conn ? &there : nullptr, result, self->work);
            }
            BERTH_CPP_CATCH(failure, end)
            static_cast<void>(end);
        }
    };
    const auto *host = static_cast<const berth_work_host *>(
        conn.host()->query(conn.host(), BERTH_WORK_ID));
    if (!host) {
        return BERTH_E_UNSUPPORTED;
    }
    std::unique_ptr<Task> task(new (std::nothrow)
                                   Task{std::move(work), std::move(done), BERTH_OK});
    if (!task) {
        return BERTH_E_NO_MEMORY;
    }
    const std::int32_t status = host->submit(conn.get(), Task::run, Task::finish, task.get());
    if (status == BERTH_OK) {
        task.release();
    }
    return status;
}

// Runs function(conn, status) on the worker of the connection with that id; conn is NULL when that
// has ended. From any thread. Not BERTH_OK: it will not run.
template <class Function>
std::int32_t post(const berth_host *host, std::uint64_t conn_id, Function function) {
    struct Message {
        Function function;
        static void BERTH_CALL run(berth_conn *conn, std::int32_t status, void *argument) {
            const std::unique_ptr<Message> self(static_cast<Message *>(argument));
            const auto end = [conn](const char *what) {
                if (conn) {
                    detail::failed(conn, what);
                }
            };
            BERTH_CPP_TRY {
                Connection there(conn);
                self->function(conn ? &there : nullptr, status);
            }
            BERTH_CPP_CATCH(failure, end)
            static_cast<void>(end);
        }
    };
    std::unique_ptr<Message> message(new (std::nothrow) Message{std::move(function)});
    if (!message) {
        return BERTH_E_NO_MEMORY;
    }
    const std::int32_t status = host->post(host, conn_id, Message::run, message.get());
    if (status == BERTH_OK) {
        message.release();
    }
    return status;
}

// -- the descriptor --------------------------------------------------------------------------------

// A base that says what a class is meant for; it has nothing in it.
struct Session {};

namespace detail {

template <class, class = void> struct has_peer_closed : std::false_type {};
template <class S>
struct has_peer_closed<
    S, std::void_t<decltype(std::declval<S &>().peer_closed(std::declval<Connection>()))>>
    : std::true_type {};
template <class, class = void> struct has_filled : std::false_type {};
template <class S>
struct has_filled<S, std::void_t<decltype(std::declval<S &>().filled(std::declval<Connection>()))>>
    : std::true_type {};
template <class, class = void> struct has_drained : std::false_type {};
template <class S>
struct has_drained<
    S, std::void_t<decltype(std::declval<S &>().drained(std::declval<Connection>()))>>
    : std::true_type {};
template <class, class = void> struct has_closed : std::false_type {};
template <class S>
struct has_closed<
    S, std::void_t<decltype(std::declval<S &>().closed(std::declval<Connection>(), 0U))>>
    : std::true_type {};
template <class, class = void> struct has_closing : std::false_type {};
template <class S>
struct has_closing<
    S, std::void_t<decltype(std::declval<S &>().closing(std::declval<Connection>(), 0U))>>
    : std::true_type {};
template <class, class = void> struct has_service : std::false_type {};
template <class S> struct has_service<S, std::void_t<typename S::Service>> : std::true_type {};
template <class, class = void> struct has_flags : std::false_type {};
template <class S> struct has_flags<S, std::void_t<decltype(S::flags)>> : std::true_type {};
template <class, class = void> struct has_schema : std::false_type {};
template <class S>
struct has_schema<S, std::void_t<decltype(S::config_schema)>> : std::true_type {};

// The state of a connection: zeroed by the host, so that there is no session in it at first.
template <class S> struct Slot {
    S *session;
    alignas(S) unsigned char room[sizeof(S)];
};

template <class S> struct Calls {
    static_assert(alignof(Slot<S>) <= 16, "the host aligns the state of a connection to 16 bytes");

    static Slot<S> &slot(berth_conn *conn) { return *static_cast<Slot<S> *>(conn->state); }

    // Calls function(session), unless its constructor has failed; what it throws ends the connection.
    template <class Function> static void with(berth_conn *conn, Function function) {
        const auto end = [conn](const char *what) { failed(conn, what); };
        if (S *session = slot(conn).session) {
            BERTH_CPP_TRY { function(*session); }
            BERTH_CPP_CATCH(failure, end)
        }
        static_cast<void>(end);
    }

    static void BERTH_CALL opened(berth_conn *conn) {
        Slot<S> &at = slot(conn);
        const auto end = [conn](const char *what) { failed(conn, what); };
        BERTH_CPP_TRY {
            if constexpr (std::is_constructible_v<S, Connection>) {
                at.session = new (at.room) S(Connection(conn));
            } else {
                at.session = new (at.room) S();
            }
        }
        BERTH_CPP_CATCH(failure, end)
        static_cast<void>(end);
    }
    static std::uint32_t BERTH_CALL received(berth_conn *conn, const berth_slice *data) {
        std::uint32_t consumed = 0;
        with(conn, [&](S &session) {
            consumed = static_cast<std::uint32_t>(
                session.received(Connection(conn), Bytes(conn->host, *data)));
        });
        return consumed;
    }
    static void BERTH_CALL filled(berth_conn *conn) {
        with(conn, [conn](auto &session) { session.filled(Connection(conn)); });
    }
    static void BERTH_CALL drained(berth_conn *conn) {
        with(conn, [conn](auto &session) { session.drained(Connection(conn)); });
    }
    static void BERTH_CALL peer_closed(berth_conn *conn) {
        with(conn, [conn](auto &session) { session.peer_closed(Connection(conn)); });
    }
    static std::uint32_t BERTH_CALL closing(berth_conn *conn, std::uint32_t reason) {
        std::uint32_t answer = BERTH_CLOSING_CLOSE;
        with(conn, [&](auto &session) { answer = session.closing(Connection(conn), reason); });
        return answer;
    }
    static void BERTH_CALL closed(berth_conn *conn, std::uint32_t reason) {
        static_cast<void>(reason);
        if constexpr (has_closed<S>::value) {
            with(conn, [&](auto &session) { session.closed(Connection(conn), reason); });
        }
        if (S *session = std::exchange(slot(conn).session, nullptr)) {
            session->~S();
        }
    }

    static std::int32_t BERTH_CALL listener_open(const berth_listener *listener, void **state,
                                                 berth_error *error) {
        std::int32_t status = BERTH_OK;
        const auto end = [&](const char *what) {
            status = berth_error_set(error, BERTH_E_FAILED, "%s", what);
        };
        BERTH_CPP_TRY {
            if constexpr (has_service<S>::value) {
                *state = new typename S::Service(Listener(listener));
            }
        }
        BERTH_CPP_CATCH(failure, end)
        static_cast<void>(end);
        static_cast<void>(listener);
        static_cast<void>(state);
        return status;
    }
    static void BERTH_CALL listener_close(const berth_listener *listener) {
        if constexpr (has_service<S>::value) {
            delete static_cast<typename S::Service *>(listener->state);
        }
        static_cast<void>(listener);
    }
};

} // namespace detail

// Everything else of it is zero; change what you need before it is exported.
template <class S>
constexpr berth_plugin describe(const char *id, const char *name, const char *version) {
    using Calls = detail::Calls<S>;
    berth_plugin plugin{};
    plugin.magic = BERTH_PLUGIN_MAGIC;
    plugin.struct_size = sizeof(berth_plugin);
    plugin.abi_major = BERTH_ABI_MAJOR;
    plugin.abi_minor_built = BERTH_ABI_MINOR;
    plugin.abi_draft = BERTH_ABI_DRAFT;
    plugin.conn_state_size = sizeof(detail::Slot<S>);
    plugin.id = id;
    plugin.name = name;
    plugin.version = version;
    plugin.opened = Calls::opened;
    plugin.received = Calls::received;
    plugin.closed = Calls::closed;
    if constexpr (detail::has_flags<S>::value) {
        plugin.flags = S::flags;
    }
    if constexpr (detail::has_schema<S>::value) {
        plugin.config_schema_json = S::config_schema;
    }
    if constexpr (detail::has_service<S>::value) {
        plugin.listener_open = Calls::listener_open;
        plugin.listener_close = Calls::listener_close;
    }
    if constexpr (detail::has_filled<S>::value) {
        plugin.filled = Calls::filled;
    }
    if constexpr (detail::has_drained<S>::value) {
        plugin.drained = Calls::drained;
    }
    if constexpr (detail::has_peer_closed<S>::value) {
        plugin.peer_closed = Calls::peer_closed;
    }
    if constexpr (detail::has_closing<S>::value) {
        plugin.closing = Calls::closing;
    }
    return plugin;
}

} // namespace berth

// Exports the plugin: once in a library, outside of any namespace.
#define BERTH_CPP_PLUGIN(session, id, name, version)                                               \
    BERTH_EXPORT const berth_plugin *BERTH_CALL BERTH_PLUGIN_ENTRY() {                             \
        static constexpr berth_plugin plugin = ::berth::describe<session>(id, name, version);      \
        return &plugin;                                                                            \
    }

#endif
