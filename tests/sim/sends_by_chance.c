/* The plugin gives bytes to its clients by every service there is: copies, slices, runs of a file,
 * and buffers that it has received and kept. */
#include "berth/file.h"
#include "host_in_world.h"
#include "net/listen/listener.h"
#include "rule.h"
#include "world.h"

enum {
    SEND_BYTES = 5000,
    FLOOD = 6,
    HARD_CAP = 4,     /* times the limits of the queue */
    SHORT_ONE_IN = 10 /* of the runs of a file */
};

/* -- limits ---------------------------------------------------------------- */

/* What waits to be sent, as the plugin can ask; of a file the same. */
static uint64_t queued(const struct conversation *conversation) {
    struct berth_conn_info info = {.struct_size = sizeof(info)};
    conversation->conn->host->conn_info(conversation->conn, &info);
    return info.bytes_queued;
}

/* A send is refused past the cap alone. Bytes of files do not count; nor does, before it has
 * returned, what a callback sends: how much was left before it is not known here. */
static void check_cap(const struct conversation *conversation, int32_t status, uint64_t before) {
    const struct listener *listener = (const struct listener *)conversation->conn->listener;
    uint64_t cap = (uint64_t)listener->options.send_queue_bytes * HARD_CAP;
    uint64_t pieces = (uint64_t)listener->options.send_queue_pieces * HARD_CAP;
    RULE(status != BERTH_E_LIMIT || before >= cap || conversation->sends >= pieces,
         "limits.send_queue_bytes is exact: client %u, %llu of %llu", conversation->number,
         (unsigned long long)before, (unsigned long long)cap);
}

static void note_sent(struct conversation *conversation, int32_t status, uint64_t size,
                      uint64_t queued_before) {
    check_cap(conversation, status, queued_before);
    if (status == BERTH_OK) {
        RULE(!conversation->has_ended_send, "no send is accepted after the end of sending");
        conversation->given += size;
        conversation->sends++;
    } else if (status == BERTH_E_LIMIT || status == BERTH_E_GONE || status == BERTH_E_NO_MEMORY) {
        RULE(status != BERTH_E_NO_MEMORY || memory_may_fail(), "there is memory without a fault");
        conversation->was_killed |= status != BERTH_E_NO_MEMORY;
        conversation->is_ending |= status != BERTH_E_NO_MEMORY;
    } else {
        RULE(status == BERTH_E_STATE, "send fails for a known reason: %d", status);
        RULE(conversation->has_ended_send || conversation->was_killed ||
                 conversation->short_at > 0 ||
                 (conversation->has_sent_file && !conversation->began_quiet),
             "a send is legal before the end of sending");
    }
}

static uint64_t send_size(const struct conversation *conversation) {
    uint64_t size = 1 + sim_random(SEND_BYTES);
    uint64_t left =
        conversation->budget > conversation->given ? conversation->budget - conversation->given : 0;
    return size < left ? size : left;
}

/* -- copies and slices ----------------------------------------------------- */

static void use_send(struct conversation *conversation) {
    uint8_t bytes[SEND_BYTES];
    struct berth_conn *conn = conversation->conn;
    uint64_t size = send_size(conversation);
    uint64_t before = queued(conversation);
    if (size > 0) {
        stream_fill(conversation->number, STREAM_OF_PLUGIN, conversation->given, bytes, size);
        note_sent(conversation, conn->host->send(conn, bytes, (uint32_t)size), size, before);
    }
}

/* More than a turn sends. */
static void use_flood(struct conversation *conversation) {
    for (unsigned i = 0; i < FLOOD && !conversation->is_ending; i++) {
        use_send(conversation);
    }
}

/* False: there is no memory for it. */
static bool fill_slice(const struct conversation *conversation, uint64_t at, uint64_t size,
                       struct berth_slice *slice) {
    const struct berth_host *host = conversation->conn->host;
    int32_t status = host->buffer_create(host, (uint32_t)size, slice);
    RULE(status == BERTH_OK || (status == BERTH_E_NO_MEMORY && memory_may_fail()),
         "a buffer is there unless memory fails: %d", status);
    if (status != BERTH_OK) {
        return false;
    }
    RULE(slice->size >= size, "a buffer has the room that was asked for");
    stream_fill(conversation->number, STREAM_OF_PLUGIN, at, slice->bytes, size);
    slice->size = (uint32_t)size;
    return true;
}

/* In two parts of one buffer, each with a reference. */
static void use_slices(struct conversation *conversation) {
    struct berth_conn *conn = conversation->conn;
    struct berth_slice slices[2];
    uint64_t size = send_size(conversation);
    uint64_t before = queued(conversation);
    if (size < 2 || !fill_slice(conversation, conversation->given, size, &slices[0])) {
        return;
    }
    slices[1] = slices[0];
    slices[0].size = (uint32_t)(size / 2);
    slices[1].bytes += slices[0].size;
    slices[1].size = (uint32_t)size - slices[0].size;
    conn->host->buffer_acquire(slices[1].buffer);
    conversation->sends++;
    note_sent(conversation, conn->host->send_slices(conn, slices, 2), size, before);
}

/* -- files ----------------------------------------------------------------- */

/* A run of the file between two pieces of memory. Now and then the file ends before the run does.
 */
static void use_pieces(struct conversation *conversation) {
    struct berth_conn *conn = conversation->conn;
    const struct generation *generation = conn->listener->plugin_state;
    const struct berth_file_host *files = conn->host->query(conn->host, BERTH_FILE_ID);
    struct berth_piece pieces[3] = {0};
    uint64_t size = send_size(conversation);
    uint64_t before = queued(conversation);
    if (!generation->file || size < 3 || size >= given_file_size ||
        !given_can_insert(conversation)) {
        return;
    }
    uint64_t head = 1 + sim_random(size / 3);
    uint64_t run = 1 + sim_random(size / 3);
    uint64_t tail = size - head - run;
    uint64_t offset = sim_random(given_file_size - run);
    bool to_end = sim_random(4) == 0;
    bool is_short = !to_end && sim_random(SHORT_ONE_IN) == 0;
    uint64_t there = is_short ? sim_random(run) : run;
    offset = to_end || is_short ? given_file_size - there : offset;
    if (!fill_slice(conversation, conversation->given, head, &pieces[0].memory)) {
        return;
    }
    if (!fill_slice(conversation, conversation->given + head + run, tail, &pieces[2].memory)) {
        conn->host->buffer_release(pieces[0].memory.buffer);
        return;
    }
    files->acquire(generation->file);
    pieces[1] = (struct berth_piece){
        .file = generation->file, .offset = offset, .size = to_end ? UINT64_MAX : run};
    uint64_t at = conversation->given;
    conversation->sends += 2;
    note_sent(conversation, files->send_pieces(conn, pieces, 3), size, before);
    if (conversation->given > at) {
        conversation->has_sent_file = true;
        given_insert(conversation, SOURCE_FILE, offset, at + head, run);
        if (is_short && conversation->short_at == 0) {
            conversation->short_at = at + head + there;
        }
    }
}

/* -- received buffers that are kept ---------------------------------------- */

void keep_by_chance(struct conversation *conversation, const struct berth_slice *data) {
    for (unsigned i = 0; i < KEPT_MAX; i++) {
        struct kept *kept = &conversation->kept[i];
        if (!kept->slice.buffer && sim_random(8) == 0) {
            conversation->conn->host->buffer_acquire(data->buffer);
            kept->slice = *data;
            kept->at = conversation->consumed;
        }
    }
}

static void check_kept(const struct conversation *conversation, const struct kept *kept) {
    RULE(stream_has(conversation->number, STREAM_OF_CLIENT, kept->at, kept->slice.bytes,
                    kept->slice.size),
         "the bytes of a buffer that is kept stay: client %u", conversation->number);
}

static void kept_release(struct conversation *conversation, struct kept *kept) {
    if (kept->slice.buffer) {
        check_kept(conversation, kept);
        conversation->conn->host->buffer_release(kept->slice.buffer);
        kept->slice.buffer = NULL;
    }
}

/* Gives it back to its client, or to the host. */
static void use_last_good(struct conversation *conversation) {
    struct berth_conn *conn = conversation->conn;
    struct kept *kept = &conversation->kept[sim_random(KEPT_MAX)];
    if (!kept->slice.buffer) {
        return;
    }
    uint32_t size = kept->slice.size;
    if (sim_random(2) == 0 || !given_can_insert(conversation) ||
        conversation->given + size > conversation->budget) {
        kept_release(conversation, kept);
        return;
    }
    uint64_t at = conversation->given;
    uint64_t before = queued(conversation);
    check_kept(conversation, kept);
    note_sent(conversation, conn->host->send_slices(conn, &kept->slice, 1), size, before);
    kept->slice.buffer = NULL;
    if (conversation->given > at) {
        given_insert(conversation, SOURCE_CLIENT, kept->at, at, size);
    }
}

void kept_end(struct conversation *conversation) {
    for (unsigned i = 0; i < KEPT_MAX; i++) {
        kept_release(conversation, &conversation->kept[i]);
    }
}

/* -- any of them ----------------------------------------------------------- */

void send_by_chance(struct conversation *conversation) {
    static void (*const ways[])(struct conversation * conversation) = {
        use_send, use_send, use_flood, use_slices, use_pieces, use_last_good,
    };
    ways[sim_random(sizeof(ways) / sizeof(ways[0]))](conversation);
}
