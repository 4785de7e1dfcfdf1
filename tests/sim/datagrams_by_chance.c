/* Datagrams: senders, and what the plugin makes of theirs. Each datagram begins with its sender and
 * its number; the rest is a stream of its own, and so is that of its answer. */
#include "base/macros.h"
#include "berth/datagram.h"
#include "host_in_world.h"
#include "net/listen/listener.h"
#include "rule.h"
#include "world.h"

enum {
    SENDERS = 3,
    SENDER_PORT = 21000,
    DATAGRAMS_MAX = 40, /* of a sender */
    HEADER_BYTES = 2,
    SIZE_MOST = 20000, /* longer than any buffer */
    ANSWER_MOST = 2000,
    PAUSE_US = 2000000,
    STREAM = 1000,         /* number of the first one */
    ARRIVES_US = 10000000, /* a datagram, in a world without losses */
};

struct sent {
    uint32_t size;
    uint64_t at_us;
    bool was_quiet;
    unsigned shown;
    unsigned answers; /* that were accepted to be sent */
    unsigned answered;
};

struct sender {
    struct sim_datagrams *socket; /* NULL: there is none */
    struct sim_timer pace;
    unsigned number;
    unsigned count;
    unsigned last; /* that was shown */
    struct sent sent[DATAGRAMS_MAX];
};

static struct datagrams_model {
    struct sender senders[SENDERS];
    struct berth_address address; /* of the listener, through all its generations */
    unsigned copies;              /* of a datagram that may come */
    uint64_t shown;
    uint64_t truncated;
    uint64_t answers;
    const struct sender *last_sender; /* whose datagram was shown last, and which */
    unsigned last_number;
} all;

static unsigned stream_of(const struct sender *sender, unsigned number) {
    return STREAM + sender->number * DATAGRAMS_MAX + number;
}

static bool is_denied(const struct sender *sender) {
    return world.denies && sender->number == 2;
}

static bool is_same(const struct berth_address *one, const struct berth_address *other) {
    return one->family == other->family && one->port == other->port &&
           one->bytes[0] == other->bytes[0] && one->bytes[3] == other->bytes[3];
}

/* -- the senders ----------------------------------------------------------- */

static uint32_t answer_size(const struct sender *sender, unsigned number) {
    return HEADER_BYTES + stream_of(sender, number) * 37U % ANSWER_MOST;
}

static void write_datagram(const struct sender *sender, unsigned number, enum stream stream,
                           uint8_t *bytes, uint32_t size) {
    bytes[0] = (uint8_t)sender->number;
    bytes[1] = (uint8_t)number;
    stream_fill(stream_of(sender, number), stream, HEADER_BYTES, bytes + HEADER_BYTES,
                size - HEADER_BYTES);
}

static void send_next(struct sim_timer *timer) {
    static const uint32_t most[] = {1, 10, 400, 3000, SIZE_MOST};
    static uint8_t bytes[HEADER_BYTES + SIZE_MOST];
    struct sender *sender = CONTAINER_OF(timer, struct sender, pace);
    struct sent *sent = &sender->sent[sender->count];
    sent->size = HEADER_BYTES + (uint32_t)sim_random(most[sim_random(ARRAY_COUNT(most))]);
    sent->at_us = sim_now_us();
    sent->was_quiet = !world.is_faulty;
    write_datagram(sender, sender->count, STREAM_OF_CLIENT, bytes, sent->size);
    sim_datagrams_send(sender->socket, &all.address, bytes, sent->size);
    if (++sender->count < DATAGRAMS_MAX) {
        sim_timer_set(timer, sim_now_us() + sim_random(PAUSE_US));
    }
}

static void on_answer(struct sim_datagrams *socket, void *context) {
    struct sender *sender = context;
    static uint8_t bytes[HEADER_BYTES + ANSWER_MOST];
    struct berth_address from;
    int64_t size;
    while ((size = sim_datagrams_receive(socket, &from, bytes, sizeof(bytes))) >= 0) {
        RULE(is_same(&from, &all.address), "an answer comes from where its datagram was sent to");
        RULE(size >= HEADER_BYTES && bytes[0] == sender->number && bytes[1] < sender->count,
             "an answer goes to its sender: %u", sender->number);
        struct sent *sent = &sender->sent[bytes[1]];
        RULE(size == answer_size(sender, bytes[1]) &&
                 stream_has(stream_of(sender, bytes[1]), STREAM_OF_PLUGIN, HEADER_BYTES,
                            bytes + HEADER_BYTES, (uint64_t)size - HEADER_BYTES),
             "an answer is whole: %lld bytes to sender %u", (long long)size, sender->number);
        sent->answered++;
        RULE(sent->answered <= sent->answers * all.copies,
             "an answer comes once: %u of %u to sender %u", sent->answered, sent->answers,
             sender->number);
    }
}

void datagrams_begin(void) {
    const struct listener *listener = host_datagram_listener();
    all = (struct datagrams_model){.copies = sim_world_options()->datagram_twice > 0 ? 2 : 1};
    for (unsigned i = 0; listener && i < SENDERS; i++) {
        struct sender *sender = &all.senders[i];
        struct berth_address at = {.family = BERTH_FAMILY_IPV4,
                                   .port = (uint16_t)(SENDER_PORT + i),
                                   .bytes = {127, 0, 0, (uint8_t)(1 + i)}};
        all.address = listener_address(listener, 0);
        sender->number = i;
        sender->socket = sim_datagrams_open(at, on_answer, sender);
        RULE(sender->socket, "a sender's address is free");
        sender->pace.fire = send_next;
        sim_timer_set(&sender->pace, sim_now_us() + sim_random(PAUSE_US));
    }
}

/* -- the plugin ------------------------------------------------------------ */

static void answer(const struct berth_listener *listener, const struct sender *sender,
                   unsigned number) {
    const struct berth_datagram_host *host =
        listener->host->query(listener->host, BERTH_DATAGRAM_ID);
    struct berth_address to = sim_datagrams_address(sender->socket);
    struct berth_slice slice;
    uint32_t size = answer_size(sender, number);
    if (listener->host->buffer_create(listener->host, size, &slice) != BERTH_OK) {
        RULE(memory_may_fail(), "there is memory without a fault");
        return;
    }
    write_datagram(sender, number, STREAM_OF_PLUGIN, slice.bytes, size);
    slice.size = size;
    int32_t status = host->send(listener, &all.address, &to, &slice);
    if (status == BERTH_OK) {
        ((struct sender *)(uintptr_t)sender)->sent[number].answers++;
        all.answers++;
    } else {
        RULE(world.is_faulty, "an answer is sent unless something fails: %d", status);
    }
}

void datagrams_answer_late(const struct berth_listener *listener) {
    if (((const struct listener *)listener)->options.datagrams && all.last_sender) {
        answer(listener, all.last_sender, all.last_number);
    }
}

static void check_whole(const struct sender *sender, const struct berth_datagram *datagram) {
    const struct berth_slice *data = &datagram->data;
    unsigned number = data->bytes[1];
    const struct sent *sent = &sender->sent[number];
    uint32_t size = sent->size < world.buffer_bytes ? sent->size : world.buffer_bytes;
    bool is_truncated = (datagram->flags & BERTH_DATAGRAM_TRUNCATED) != 0;
    RULE(data->size == size && is_truncated == (sent->size > size),
         "a datagram is whole, or is said not to be: %u of %u bytes", data->size, sent->size);
    RULE(stream_has(stream_of(sender, number), STREAM_OF_CLIENT, HEADER_BYTES,
                    data->bytes + HEADER_BYTES, size - HEADER_BYTES),
         "the bytes of a datagram are its sender's: %u", sender->number);
    all.truncated += is_truncated;
}

void BERTH_CALL datagrams_on_datagram(const struct berth_listener *listener,
                                      const struct berth_datagram *datagram) {
    const struct berth_slice *data = &datagram->data;
    unsigned index = datagram->remote.port - (unsigned)SENDER_PORT;
    callback_begin("datagram");
    RULE(host_is_open(listener), "no datagram comes to a listener that is closed");
    RULE(index < SENDERS, "a datagram has its sender's address");
    struct sender *sender = &all.senders[index];
    struct berth_address from = sim_datagrams_address(sender->socket);
    RULE(is_same(&datagram->remote, &from), "a datagram has its sender's address");
    RULE(is_same(&datagram->local, &all.address), "a datagram has the listener's address");
    RULE(!is_denied(sender), "\"deny\" lets none of those in: sender %u", index);
    RULE(data->size >= HEADER_BYTES && data->bytes[0] == index && data->bytes[1] < sender->count,
         "a datagram is one that was sent: sender %u", index);
    unsigned number = data->bytes[1];
    check_whole(sender, datagram);
    RULE(++sender->sent[number].shown <= all.copies, "a datagram comes once: %u of sender %u",
         number, index);
    RULE(number >= sender->last, "the datagrams of a sender are in order: sender %u", index);
    sender->last = number;
    all.shown++;
    all.last_sender = sender;
    all.last_number = number;
    if (sim_random(2) == 0) {
        answer(listener, sender, number);
    }
    if (sim_random(4) == 0) {
        listener_timer_by_chance(listener);
    }
    callback_end();
}

/* -- the end --------------------------------------------------------------- */

/* Without losses each comes to the plugin. */
static void check_shown(const struct sender *sender) {
    for (unsigned i = 0; i < sender->count && !is_denied(sender); i++) {
        const struct sent *sent = &sender->sent[i];
        RULE(sent->shown > 0 || !sent->was_quiet || sent->at_us + ARRIVES_US > world.stops_us ||
                 sim_world_options()->datagram_lost > 0,
             "a datagram comes: %u of sender %u", i, sender->number);
    }
}

void datagrams_check(void) {
    struct listener_counters total;
    const struct listener *listener = host_datagram_listener();
    if (!listener) {
        return;
    }
    for (unsigned i = 0; i < SENDERS; i++) {
        check_shown(&all.senders[i]);
    }
    listener_total(listener, &total);
    uint64_t received = atomic_load(&total.datagrams_received);
    uint64_t refused = atomic_load(&total.refused[LISTENER_REFUSED_ACCESS]);
    uint64_t dropped = atomic_load(&total.datagrams_own) + atomic_load(&total.datagrams_lost);
    RULE(received >= all.shown + refused && received <= all.shown + refused + dropped,
         "counters equal events: %llu datagrams received, %llu shown", (unsigned long long)received,
         (unsigned long long)all.shown);
    RULE(atomic_load(&total.datagrams_truncated) == all.truncated,
         "counters equal events: %llu datagrams truncated of %llu",
         (unsigned long long)atomic_load(&total.datagrams_truncated),
         (unsigned long long)all.truncated);
    RULE(atomic_load(&total.datagrams_sent) == all.answers,
         "counters equal events: %llu datagrams sent of %llu",
         (unsigned long long)atomic_load(&total.datagrams_sent), (unsigned long long)all.answers);
    RULE(refused == 0 || world.denies, "nobody is refused by \"deny\"");
}

void datagrams_end(void) {
    for (unsigned i = 0; i < SENDERS; i++) {
        if (all.senders[i].socket) {
            sim_timer_cancel(&all.senders[i].pace);
            sim_datagrams_close(all.senders[i].socket);
            all.senders[i].socket = NULL;
        }
    }
}
