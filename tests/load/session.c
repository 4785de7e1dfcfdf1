#include "session.h"

#include <inttypes.h>
#include <stdio.h>

#include "dialogue.h"
#include "options.h"
#include "pattern.h"
#include "result.h"

#define PUSH_MAX (4 * PATTERN_PIECE_MAX) /* then the others have their turn */

static uint32_t number(const struct load *load, uint32_t slot) {
    return load->number_first + slot;
}

static bool is_counted(const struct load *load) {
    return load->phase == PHASE_MEASURING || load->phase == PHASE_DRAINING;
}

static bool greets(const struct load *load) {
    enum options_mode mode = load->options->mode;
    return mode == MODE_ECHO || mode == MODE_STREAM || mode == MODE_IDLE;
}

/* -- the ways out ---------------------------------------------------------- */

static void settle(struct load *load, const struct session *session) {
    if (session->state == SESSION_CONNECTING || session->state == SESSION_GREETING) {
        load->settled++;
        load->connecting--;
    }
}

static void leave(struct load *load, uint32_t slot, bool reset) {
    struct session *session = &load->sessions[slot];
    if (session->state != SESSION_CONNECTING) {
        load->open--;
    }
    settle(load, session);
    session->state = SESSION_CLOSING;
    transport_close(load->transport, slot, reset);
}

static void on_closed(void *owner, uint32_t slot) {
    struct load *load = owner;
    struct session *session = &load->sessions[slot];
    if (load->options->mode == MODE_SHORT) {
        session->state = SESSION_WAITING;
        load_enqueue(load, slot);
    } else {
        session->state = SESSION_OVER;
        load->live--;
    }
}

/* The server may end a connection that says nothing or reads little: that is counted, no error. */
static bool may_be_cut(const struct load *load) {
    return load->options->mode == MODE_SILENT || load->options->mode == MODE_SLOW;
}

static void cut(struct load *load, uint32_t slot, const char *how) {
    const struct session *session = &load->sessions[slot];
    load->result->cut++;
    if (!may_be_cut(load)) {
        result_error(load->result,
                     "connection %" PRIu32 ": %s with %" PRIu64 " of %" PRIu64 " bytes back",
                     number(load, slot), how, session->received, session->target);
    }
    leave(load, slot, true);
}

static void on_failed(void *owner, uint32_t slot) {
    struct load *load = owner;
    char reason[TRANSPORT_REASON_MAX];
    transport_reason(load->transport, slot, reason, sizeof(reason));
    if (load->sessions[slot].state != SESSION_CONNECTING) {
        cut(load, slot, reason);
        return;
    }
    load->result->refused++;
    result_error(load->result, "connection %" PRIu32 ": connect: %s", number(load, slot), reason);
    leave(load, slot, true);
}

/* While measuring: at the end, patience begins anew. A slow reader does not ask for much. */
static bool is_owed_an_answer(const struct load *load, const struct session *session) {
    return session->state == SESSION_OPEN && session->received < session->target &&
           load->phase != PHASE_DRAINING && load->options->mode != MODE_SLOW;
}

void session_check_patience(struct load *load, uint32_t slot) {
    struct session *session = &load->sessions[slot];
    uint64_t patience_ns = (uint64_t)(load->options->patience_seconds * 1e9);
    bool short_lived = load->options->mode == MODE_SHORT;
    bool waits = session->state == SESSION_CONNECTING || session->state == SESSION_GREETING ||
                 (short_lived && session->state == SESSION_OPEN);
    uint64_t since_ns = waits ? session->connect_ns : session->heard_ns;
    if ((!waits && !is_owed_an_answer(load, session)) || load->now_ns < since_ns + patience_ns) {
        return;
    }
    if (session->state != SESSION_CONNECTING) {
        cut(load, slot, "no answer");
        return;
    }
    load->result->refused++;
    result_error(load->result, "connection %" PRIu32 ": connect: no answer", number(load, slot));
    leave(load, slot, true);
}

bool session_is_busy(const struct load *load, uint32_t slot) {
    const struct session *session = &load->sessions[slot];
    return session->state == SESSION_CONNECTING || session->state == SESSION_GREETING ||
           (session->state == SESSION_OPEN &&
            (session->received < session->target || load->options->mode == MODE_SHORT));
}

void session_report_missing(struct load *load, uint32_t slot) {
    const struct session *session = &load->sessions[slot];
    result_error(load->result,
                 "connection %" PRIu32 ": only %" PRIu64 " of %" PRIu64 " bytes came back",
                 number(load, slot), session->received, session->target);
}

/* -- sending --------------------------------------------------------------- */

/* What lies at a place of what the session sends, and how much of it lies together. */
static const uint8_t *bytes_at(const struct session *session, uint64_t position, size_t *size) {
    if (dialogue_is_on()) {
        return dialogue_question(position, size);
    }
    *size = PATTERN_PIECE_MAX;
    return pattern_at((uint32_t)session->stream, position);
}

static void push(struct load *load, uint32_t slot) {
    struct session *session = &load->sessions[slot];
    uint64_t before = session->sent;
    while (session->sent < session->target && session->sent - before < PUSH_MAX) {
        uint64_t left = session->target - session->sent;
        size_t piece;
        const uint8_t *bytes = bytes_at(session, session->sent, &piece);
        piece = left < piece ? (size_t)left : piece;
        size_t taken = transport_send(load->transport, slot, bytes, piece);
        session->sent += taken;
        if (taken < piece) {
            break;
        }
    }
    if (is_counted(load) && session->state == SESSION_OPEN) {
        load->result->bytes_sent += session->sent - before;
    }
}

/* Before more is asked for: who is owed nothing yet begins to wait now. */
static void note_asking(struct load *load, struct session *session) {
    if (session->received == session->target) {
        session->heard_ns = load->now_ns;
    }
}

static void begin_message(struct load *load, uint32_t slot, uint64_t due_ns) {
    struct session *session = &load->sessions[slot];
    uint32_t depth = load->options->pipeline;
    struct message *ring = load->messages + (size_t)slot * depth;
    ring[(session->oldest + session->on_way) % depth] =
        (struct message){.due_ns = due_ns, .began_ns = load->now_ns};
    session->on_way++;
    session->due_ns = due_ns;
    note_asking(load, session);
    session->target += load->options->message_bytes;
    push(load, slot);
}

static void begin_round_trips(struct load *load, uint32_t slot) {
    struct session *session = &load->sessions[slot];
    bool paced = load->options->block_rate > 0;
    while (session->on_way < load->options->pipeline && (!paced || session->owed > 0) &&
           load_take(load, 1) == 1) {
        uint64_t due_ns = load->now_ns;
        if (paced) {
            const struct block *block = &load->blocks[slot / load->options->block];
            due_ns = session->due_ns + pace_span_ns(&block->pace, block->count);
            session->owed--;
        }
        begin_message(load, slot, due_ns);
    }
}

/* Messages that go out together: enough of them that a send is worth its call. */
static void begin_stream(struct load *load, uint32_t slot) {
    struct session *session = &load->sessions[slot];
    uint64_t size = load->options->message_bytes;
    uint64_t together = size < PATTERN_PIECE_MAX ? PATTERN_PIECE_MAX / size : 1;
    uint64_t before = session->sent;
    while (session->sent - before < PUSH_MAX) {
        if (session->sent == session->target) {
            note_asking(load, session);
            session->target += load_take(load, together) * size;
        }
        uint64_t sent = session->sent;
        push(load, slot);
        if (session->sent == sent || session->sent < session->target) {
            break;
        }
    }
}

void session_count_unsent(struct load *load, uint32_t slot) {
    struct session *session = &load->sessions[slot];
    if (session->owed > 0) {
        const struct block *block = &load->blocks[slot / load->options->block];
        double each_ns = 1e9 / block->pace.per_second * block->count;
        load_count_unsent(load, session->due_ns + (uint64_t)each_ns, each_ns, session->owed);
        session->owed = 0;
    }
}

void session_go_on(struct load *load, uint32_t slot) {
    struct session *session = &load->sessions[slot];
    if (session->state != SESSION_OPEN) {
        return;
    }
    if (load->phase == PHASE_DRAINING && session->on_way < load->options->pipeline) {
        session_count_unsent(load, slot);
    }
    if (load->options->mode == MODE_ECHO) {
        begin_round_trips(load, slot);
    } else if (load->options->mode == MODE_STREAM || load->options->mode == MODE_SLOW) {
        begin_stream(load, slot);
    }
}

void session_due(struct load *load, uint32_t slot, uint64_t due_ns) {
    struct session *session = &load->sessions[slot];
    if (session->state != SESSION_OPEN) {
        return;
    }
    if (session->owed > 0 || session->on_way == load->options->pipeline) {
        session->owed++;
    } else if (load_take(load, 1) == 1) {
        begin_message(load, slot, due_ns);
    }
}

static void on_sendable(void *owner, uint32_t slot) {
    struct load *load = owner;
    struct session *session = &load->sessions[slot];
    load->now_ns = transport_now_ns();
    if (session->sent < session->target) {
        push(load, slot);
    }
    if (session->sent == session->target) {
        session_go_on(load, slot);
    }
}

/* -- connecting ------------------------------------------------------------ */

void session_connect(struct load *load, uint32_t slot, uint64_t due_ns) {
    struct session *session = &load->sessions[slot];
    const struct options *options = load->options;
    struct berth_address from;
    session->state = SESSION_CONNECTING;
    session->connect_ns = load->now_ns;
    session->due_ns = due_ns;
    session->sent = session->received = session->target = session->answered = 0;
    session->on_way = 0;
    if (load->answers) {
        load->answers[slot] = (struct answer){0};
    }
    session->stream = load->result->attempted * 31 + load->number_first;
    load->connecting++;
    load->result->attempted++;
    if (options->from_count > 0) {
        from = options_from(options, load->number_first + (uint32_t)load->result->attempted);
    }
    transport_connect(load->transport, slot, options->from_count > 0 ? &from : NULL,
                      &options->target);
}

static void on_connected(void *owner, uint32_t slot) {
    struct load *load = owner;
    struct session *session = &load->sessions[slot];
    struct result *result = load->result;
    load->now_ns = transport_now_ns();
    load->open++;
    result->connected++;
    if (load->open > result->open_max) {
        result->open_max = load->open;
    }
    histogram_record(&result->connects, load->now_ns - session->connect_ns);
    if (greets(load)) {
        session->state = SESSION_GREETING;
        session->target = load->options->message_bytes;
        push(load, slot);
        return;
    }
    settle(load, session);
    session->state = SESSION_OPEN;
    if (load->options->mode == MODE_SLOW) {
        transport_allow(load->transport, slot, load_slow_read_bytes(load));
    }
    if (load->options->mode == MODE_SHORT) {
        session->target = load->options->message_bytes;
        push(load, slot);
    } else {
        session_go_on(load, slot);
    }
}

/* -- receiving ------------------------------------------------------------- */

static void count_operation(struct load *load, uint64_t due_ns, uint64_t began_ns) {
    load->operation_ns = load->now_ns;
    if (is_counted(load)) {
        load->result->operations++;
        histogram_record(&load->result->latency, load->now_ns - due_ns);
        histogram_record(&load->result->service, load->now_ns - began_ns);
    }
}

static void end_short(struct load *load, uint32_t slot) {
    const struct session *session = &load->sessions[slot];
    count_operation(load, session->due_ns, session->connect_ns);
    leave(load, slot, load->options->reset);
}

static void answered(struct load *load, uint32_t slot) {
    struct session *session = &load->sessions[slot];
    const struct options *options = load->options;
    if (options->mode == MODE_ECHO) {
        const struct message *ring = load->messages + (size_t)slot * options->pipeline;
        const struct message *message = &ring[session->oldest];
        count_operation(load, message->due_ns, message->began_ns);
        session->oldest = (session->oldest + 1) % options->pipeline;
        session->on_way--;
    } else if (is_counted(load)) {
        load->result->operations++;
        load->operation_ns = load->now_ns;
    }
}

/* Whether it is the answer, or a part of it, in a dialogue. A whole one stands for its question:
 * the rest of this file goes on as if that had come back. */
static bool take_answer(struct load *load, uint32_t slot, const uint8_t *bytes, size_t size) {
    struct session *session = &load->sessions[slot];
    const char *why;
    int complete = dialogue_take(&load->answers[slot], bytes, size, &why);
    if (complete < 0) {
        result_error(load->result, "connection %" PRIu32 ": %s", number(load, slot), why);
        return false;
    }
    session->received += (uint64_t)complete * load->options->message_bytes;
    if (session->received > session->sent) {
        result_error(load->result, "connection %" PRIu32 ": an answer without a question",
                     number(load, slot));
        return false;
    }
    return true;
}

/* Whether the bytes are those that were sent; they are counted then. If not, the connection is at
 * its end. */
static bool take_echo(struct load *load, uint32_t slot, const uint8_t *bytes, size_t size) {
    struct session *session = &load->sessions[slot];
    uint32_t stream = (uint32_t)session->stream;
    if (session->received + size > session->sent) {
        result_error(load->result,
                     "connection %" PRIu32 ": %" PRIu64 " bytes came back of %" PRIu64 " sent",
                     number(load, slot), session->received + size, session->sent);
        return false;
    }
    size_t right = pattern_compare(stream, session->received, bytes, size);
    if (right < size) {
        uint64_t place = session->received + right;
        result_error(load->result,
                     "connection %" PRIu32 ": byte %" PRIu64
                     " came back as 0x%02x and was sent as 0x%02x",
                     number(load, slot), place, bytes[right], *pattern_at(stream, place));
        return false;
    }
    session->received += size;
    return true;
}

static void on_received(void *owner, uint32_t slot, const uint8_t *bytes, size_t size) {
    struct load *load = owner;
    struct session *session = &load->sessions[slot];
    uint64_t message_bytes = load->options->message_bytes;
    load->now_ns = session->heard_ns = transport_now_ns();
    bool right =
        load->answers ? take_answer(load, slot, bytes, size) : take_echo(load, slot, bytes, size);
    if (!right) {
        leave(load, slot, true);
        return;
    }
    if (session->sent < session->target) {
        push(load, slot); /* it stopped to let others have their turn */
    }
    if (session->state == SESSION_GREETING) {
        if (session->received == session->target) {
            session->answered = session->received;
            settle(load, session);
            session->state = SESSION_OPEN;
            session_go_on(load, slot);
        }
        return;
    }
    if (is_counted(load)) {
        load->result->bytes_received += size;
    }
    if (load->options->mode == MODE_SHORT) {
        if (session->received == session->target && !load->options->server_closes) {
            end_short(load, slot);
        }
        return;
    }
    while (session->received - session->answered >= message_bytes) {
        session->answered += message_bytes;
        answered(load, slot);
    }
    session_go_on(load, slot);
}

static void on_finished(void *owner, uint32_t slot) {
    struct load *load = owner;
    const struct session *session = &load->sessions[slot];
    load->now_ns = transport_now_ns();
    if (load->options->mode == MODE_SHORT && session->received == session->target) {
        end_short(load, slot);
    } else {
        cut(load, slot, "ended by the server");
    }
}

const struct transport_events session_events = {
    .connected = on_connected,
    .received = on_received,
    .finished = on_finished,
    .sendable = on_sendable,
    .failed = on_failed,
    .closed = on_closed,
};
