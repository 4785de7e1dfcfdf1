/* The client's sockets on Linux: edge-triggered epoll, registered once for each connection, so that
 * a round trip costs a send, a receive and a share of a wait. An edge is remembered in the slot
 * (`readable`) when the owner does not want to read yet. What a call finds out at once is told by
 * the next wait, through the queue of slots to look at. */
#include "transport.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"

#define EVENTS_MAX 512
#define RECEIVE_MAX (256 * 1024)
#define READS_MAX 8 /* of one connection in a row */

struct slot {
    int fd; /* -1: none */
    uint32_t generation;
    int code; /* why it failed */
    size_t allowed;
    bool connecting, readable, wants_room, queued, closed;
};

struct transport {
    const struct transport_events *events;
    void *owner;
    struct slot *slots;
    uint32_t *queue; /* a ring of slots to look at in the next wait; each at most once */
    uint32_t queue_first, queue_count;
    uint32_t count;
    int epoll;
    uint8_t *buffer; /* of whoever receives */
};

/* -- the program ----------------------------------------------------------- */

static volatile sig_atomic_t stop_asked;

static void on_signal(int number) {
    (void)number;
    if (stop_asked) {
        _exit(1);
    }
    stop_asked = 1;
}

bool transport_stop_asked(void) {
    return stop_asked != 0;
}

/* Without SA_RESTART: who waits shall look. */
bool transport_start(struct error *error) {
    struct sigaction action = {.sa_handler = on_signal};
    struct rlimit limit;
    (void)error;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    return true;
}

uint64_t transport_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

bool transport_process_ns(uint32_t pid, uint64_t *used_ns) {
    clockid_t clock;
    struct timespec used;
    *used_ns = 0;
    if (clock_getcpuclockid((pid_t)pid, &clock) != 0 || clock_gettime(clock, &used) != 0) {
        return false;
    }
    *used_ns = (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
    return true;
}

void *transport_shared_memory(size_t size) {
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

/* In the child. Ctrl-C on a terminal is for all of its processes: the parent passes it on. */
static void become_child(pid_t parent) {
    signal(SIGINT, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        _exit(1); /* it was faster */
    }
}

static void tell_all(const pid_t *pids, unsigned count, int number) {
    for (unsigned i = 0; i < count; i++) {
        if (pids[i] > 0) {
            kill(pids[i], number);
        }
    }
}

/* False when one of them came to a bad end: the others would wait for it. Looks again and again,
 * since a signal may come just before a call that would wait. */
static bool wait_for_all(pid_t *pids, unsigned count) {
    bool fine = true, told = false;
    for (unsigned left = count; left > 0;) {
        int status = 0;
        if (!told && (!fine || stop_asked)) {
            tell_all(pids, count, SIGTERM);
            told = true;
        }
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid < 0) {
            return false;
        }
        if (pid == 0) {
            nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
            continue;
        }
        for (unsigned i = 0; i < count; i++) {
            pids[i] = pids[i] == pid ? 0 : pids[i];
        }
        fine = fine && WIFEXITED(status) && WEXITSTATUS(status) == 0;
        left--;
    }
    return fine;
}

bool transport_in_processes(unsigned count, void (*work)(void *argument, unsigned index),
                            void *argument, struct error *error) {
    unsigned started = 0;
    pid_t *pids = alloc_array(count, sizeof(*pids));
    pid_t parent = getpid();
    if (!pids) {
        return error_set(error, "no memory");
    }
    for (; started < count; started++) {
        pids[started] = fork();
        if (pids[started] == 0) {
            become_child(parent);
            work(argument, started);
            _exit(0);
        }
        if (pids[started] < 0) {
            error_set(error, "--processes: fork: %s", strerror(errno));
            tell_all(pids, started, SIGKILL); /* they would wait for those that are missing */
            break;
        }
    }
    bool fine = wait_for_all(pids, started);
    alloc_free(pids);
    if (started == count && !fine) {
        error_set(error, "--processes: one of them came to a bad end");
    }
    return fine && started == count;
}

/* -- sockets --------------------------------------------------------------- */

struct transport *transport_create(uint32_t slots, const struct transport_events *events,
                                   void *owner, struct error *error) {
    struct transport *transport = alloc_zeroed(sizeof(*transport));
    if (!transport) {
        error_set(error, "no memory");
        return NULL;
    }
    transport->events = events;
    transport->owner = owner;
    transport->count = slots;
    transport->slots = alloc_array(slots, sizeof(*transport->slots));
    transport->queue = alloc_array(slots, sizeof(*transport->queue));
    transport->buffer = alloc_zeroed(RECEIVE_MAX);
    transport->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!transport->slots || !transport->queue || !transport->buffer) {
        error_set(error, "no memory for %u connections", slots);
        goto fail;
    }
    for (uint32_t i = 0; i < slots; i++) {
        transport->slots[i].fd = -1;
    }
    if (transport->epoll < 0) {
        error_set(error, "epoll_create1: %s", strerror(errno));
        goto fail;
    }
    return transport;
fail:
    transport_destroy(transport);
    return NULL;
}

void transport_destroy(struct transport *transport) {
    if (!transport) {
        return;
    }
    for (uint32_t i = 0; transport->slots && i < transport->count; i++) {
        if (transport->slots[i].fd >= 0) {
            close(transport->slots[i].fd);
        }
    }
    if (transport->epoll >= 0) {
        close(transport->epoll);
    }
    alloc_free(transport->buffer);
    alloc_free(transport->queue);
    alloc_free(transport->slots);
    alloc_free(transport);
}

static void look_at(struct transport *transport, uint32_t slot) {
    struct slot *place = &transport->slots[slot];
    if (!place->queued) {
        place->queued = true;
        uint32_t end = (transport->queue_first + transport->queue_count) % transport->count;
        transport->queue[end] = slot;
        transport->queue_count++;
    }
}

union system_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static socklen_t to_system(const struct berth_address *from, union system_address *to) {
    memset(to, 0, sizeof(*to));
    if (from->family == BERTH_FAMILY_IPV6) {
        to->v6.sin6_family = AF_INET6;
        to->v6.sin6_port = htons(from->port);
        to->v6.sin6_scope_id = from->scope_id;
        memcpy(&to->v6.sin6_addr, from->bytes, 16);
        return sizeof(to->v6);
    }
    to->v4.sin_family = AF_INET;
    to->v4.sin_port = htons(from->port);
    memcpy(&to->v4.sin_addr, from->bytes, 4);
    return sizeof(to->v4);
}

/* The port is chosen when both ends are known, so that each source address has all of them for each
 * server. */
static bool bind_to(int fd, const struct berth_address *from) {
    union system_address address;
    int one = 1;
    socklen_t size = to_system(from, &address);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    return bind(fd, &address.any, size) == 0;
}

static bool begin_connect(struct transport *transport, uint32_t slot,
                          const struct berth_address *from, const struct berth_address *to) {
    struct slot *place = &transport->slots[slot];
    union system_address address;
    socklen_t size = to_system(to, &address);
    int one = 1;
    place->fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (place->fd < 0 || (from && !bind_to(place->fd, from))) {
        return false;
    }
    setsockopt(place->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(place->fd, &address.any, size) != 0 && errno != EINPROGRESS) {
        return false;
    }
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.u64 = (uint64_t)place->generation << 32 | slot};
    return epoll_ctl(transport->epoll, EPOLL_CTL_ADD, place->fd, &event) == 0;
}

void transport_connect(struct transport *transport, uint32_t slot, const struct berth_address *from,
                       const struct berth_address *to) {
    struct slot *place = &transport->slots[slot];
    *place = (struct slot){.fd = -1,
                           .generation = place->generation + 1,
                           .allowed = TRANSPORT_ALL,
                           .queued = place->queued,
                           .connecting = true};
    if (!begin_connect(transport, slot, from, to)) {
        place->code = errno;
        look_at(transport, slot);
    }
}

size_t transport_send(struct transport *transport, uint32_t slot, const uint8_t *bytes,
                      size_t size) {
    struct slot *place = &transport->slots[slot];
    ssize_t sent = send(place->fd, bytes, size, MSG_NOSIGNAL);
    place->wants_room = sent != (ssize_t)size; /* the next edge says when there is some */
    if (sent >= 0) {
        return (size_t)sent;
    }
    if (errno != EAGAIN && errno != EINTR && place->code == 0) {
        place->code = errno;
        look_at(transport, slot);
    }
    return 0;
}

void transport_allow(struct transport *transport, uint32_t slot, size_t bytes) {
    struct slot *place = &transport->slots[slot];
    place->allowed = bytes;
    if (place->readable && bytes > 0) {
        look_at(transport, slot);
    }
}

void transport_close(struct transport *transport, uint32_t slot, bool reset) {
    struct slot *place = &transport->slots[slot];
    if (place->fd >= 0) {
        if (reset) {
            struct linger linger = {.l_onoff = 1, .l_linger = 0};
            setsockopt(place->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
        }
        close(place->fd);
        place->fd = -1;
    }
    place->generation++; /* what the system still tells of it is old */
    place->closed = true;
    look_at(transport, slot);
}

void transport_reason(struct transport *transport, uint32_t slot, char *text, size_t size) {
    snprintf(text, size, "%s", strerror(transport->slots[slot].code));
}

/* -- what has happened ----------------------------------------------------- */

/* Reads to the end of what is there: a short read is that end, and a FIN behind it comes with an
 * edge of its own, unless this edge has brought it (`all`). */
static void receive(struct transport *transport, uint32_t slot, bool all) {
    struct slot *place = &transport->slots[slot];
    uint32_t generation = place->generation;
    for (unsigned i = 0; place->readable && place->allowed > 0; i++) {
        size_t room = place->allowed < RECEIVE_MAX ? place->allowed : RECEIVE_MAX;
        if (i == READS_MAX) {
            look_at(transport, slot);
            return;
        }
        ssize_t size = recv(place->fd, transport->buffer, room, 0);
        if (size < 0) {
            place->readable = false;
            if (errno != EAGAIN && errno != EINTR) {
                place->code = errno;
                transport->events->failed(transport->owner, slot);
            }
            return;
        }
        if (size == 0) {
            place->readable = false;
            transport->events->finished(transport->owner, slot);
            return;
        }
        if ((size_t)size < room && !all) {
            place->readable = false;
        }
        if (place->allowed != TRANSPORT_ALL) {
            place->allowed -= (size_t)size;
        }
        transport->events->received(transport->owner, slot, transport->buffer, (size_t)size);
        if (place->generation != generation) {
            return;
        }
    }
}

/* The error is asked for only where the event hints at one. */
static bool has_connected(struct transport *transport, uint32_t slot, uint32_t events) {
    struct slot *place = &transport->slots[slot];
    socklen_t size = sizeof(place->code);
    if (events & (EPOLLERR | EPOLLHUP)) {
        getsockopt(place->fd, SOL_SOCKET, SO_ERROR, &place->code, &size);
        if (place->code != 0) {
            transport->events->failed(transport->owner, slot);
            return false;
        }
    }
    place->connecting = false;
    transport->events->connected(transport->owner, slot);
    return true;
}

static void tell(struct transport *transport, uint32_t slot, uint32_t events) {
    struct slot *place = &transport->slots[slot];
    uint32_t generation = place->generation;
    if (place->connecting) {
        if (!has_connected(transport, slot, events)) {
            return;
        }
    } else if ((events & EPOLLOUT) && place->wants_room) {
        place->wants_room = false;
        transport->events->sendable(transport->owner, slot);
    }
    if (place->generation == generation && (events & ~(uint32_t)EPOLLOUT)) {
        place->readable = true;
        receive(transport, slot, (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0);
    }
}

/* Only those that are there now: what they add is for the next time. */
static void tell_queued(struct transport *transport) {
    for (uint32_t left = transport->queue_count; left > 0; left--) {
        uint32_t slot = transport->queue[transport->queue_first];
        struct slot *place = &transport->slots[slot];
        transport->queue_first = (transport->queue_first + 1) % transport->count;
        transport->queue_count--;
        place->queued = false;
        if (place->closed) {
            place->closed = false;
            transport->events->closed(transport->owner, slot);
        } else if (place->code != 0) {
            transport->events->failed(transport->owner, slot);
        } else if (place->fd >= 0) {
            receive(transport, slot, true);
        }
    }
}

void transport_wait(struct transport *transport, uint64_t timeout_ns) {
    struct epoll_event events[EVENTS_MAX];
    struct timespec timeout = {.tv_sec = (time_t)(timeout_ns / 1000000000u),
                               .tv_nsec = (long)(timeout_ns % 1000000000u)};
    if (transport->queue_count > 0) {
        timeout = (struct timespec){0};
    }
    int count = epoll_pwait2(transport->epoll, events, EVENTS_MAX, &timeout, NULL);
    for (int i = 0; i < count; i++) {
        uint32_t slot = (uint32_t)events[i].data.u64;
        if (transport->slots[slot].generation == events[i].data.u64 >> 32) {
            tell(transport, slot, events[i].events);
        }
    }
    tell_queued(transport);
}
