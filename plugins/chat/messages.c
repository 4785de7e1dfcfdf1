/* Messages, from the sender to the receivers.
 *
 * A message is one buffer, whatever the number of receivers. It is posted to each worker with
 * members of the room, one post each. There one reference to the buffer is queued for every member:
 * no byte is copied, and no lock is held. A sender's messages take the same path one after the
 * other, so every member receives them in order.
 *
 * Messages in transit are bounded. Per member the bound is UNDER_WAY_MAX; then the next line stays
 * unconsumed, and TCP flow control holds the client back. In total the bound is the host's limit of
 * posts to each worker; beyond that a message is refused with an error to its sender. Accepted
 * posts cannot be cancelled: if only some workers refuse, the others still deliver the message. The
 * error distinguishes the two cases, because repeating a message is only right if no member has
 * received it.
 *
 * A receiver that does not read is not waited for: see `filled` and `drained` in chat.c. */
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "chat/chat.h"

enum { UNDER_WAY_MAX = 32 }; /* of a member's messages */

struct message {
    struct chat *chat;
    struct berth_slice line;
    struct room *room; /* NULL: for one member */
    atomic_uint *under_way;
    atomic_uint references; /* the creator and the posts */
};

/* -- a sender's messages in transit ---------------------------------------- */

static void under_way_release(atomic_uint *under_way) {
    if (under_way && atomic_fetch_sub(under_way, 1) == 1) {
        free(under_way);
    }
}

/* Counts one more message of this member. The counter outlives message and member, and counts the
 * member itself as one. */
static bool under_way_acquire(struct member *member) {
    if (!member->under_way) {
        member->under_way = malloc(sizeof(*member->under_way));
        if (!member->under_way) {
            return false;
        }
        atomic_init(member->under_way, 1);
    }
    atomic_fetch_add(member->under_way, 1);
    return true;
}

bool message_must_wait(const struct member *member) {
    return member->under_way && atomic_load(member->under_way) > UNDER_WAY_MAX;
}

void message_forget_sender(struct member *member) {
    under_way_release(member->under_way);
    member->under_way = NULL;
}

/* -- a message ------------------------------------------------------------- */

static void message_release(struct message *message) {
    struct chat *chat = message->chat;
    if (atomic_fetch_sub(&message->references, 1) > 1) {
        return;
    }
    chat->listener->host->buffer_release(message->line.buffer);
    under_way_release(message->under_way);
    rooms_release(chat, message->room);
    free(message);
}

static void message_append(struct berth_slice *line, const char *bytes, size_t size) {
    memcpy(line->bytes + line->size, bytes, size);
    line->size += (uint32_t)size;
}

/* A line of these words, of which the last may be missing; without receivers yet. */
static struct message *message_create(struct chat *chat, struct member *sender,
                                      const char *const words[3], const struct span *text) {
    const struct berth_host *host = chat->listener->host;
    struct message *message = calloc(1, sizeof(*message));
    size_t size = text ? text->size + 2u : 2u;
    for (int i = 0; i < 3; i++) {
        size += strlen(words[i]) + 1;
    }
    if (!message || host->buffer_create(host, (uint32_t)size, &message->line) != BERTH_OK) {
        free(message);
        return NULL;
    }
    message->chat = chat;
    atomic_init(&message->references, 1);
    if (sender && !under_way_acquire(sender)) {
        message_release(message);
        return NULL;
    }
    message->under_way = sender ? sender->under_way : NULL;
    message->line.size = 0;
    for (int i = 0; i < 3; i++) {
        size_t length = strlen(words[i]);
        if (length > 0) {
            message_append(&message->line, " ", message->line.size > 0 ? 1 : 0);
            message_append(&message->line, words[i], length);
        }
    }
    if (text) {
        message_append(&message->line, " ", 1);
        message_append(&message->line, text->bytes, text->size);
    }
    message_append(&message->line, "\n", 1);
    return message;
}

/* On the member's worker. */
static void member_receive(struct member *member, const struct message *message) {
    const struct berth_host *host = member->conn->host;
    if (member->is_full) {
        member->missed++;
        atomic_fetch_add(&message->chat->skipped, 1);
        return;
    }
    host->buffer_acquire(message->line.buffer);
    host->send_slices(member->conn, &message->line, 1); /* a failure ends it: `closed` follows */
}

/* -- to a room ------------------------------------------------------------- */

static void BERTH_CALL deliver_to_seats(const struct berth_listener *listener, uint32_t worker,
                                        void *argument) {
    struct message *message = argument;
    struct member *member;
    (void)listener;
    DL_FOREACH(message->room->seats[worker].members, member) {
        member_receive(member, message);
    }
    message_release(message);
}

int32_t message_to_room(struct chat *chat, struct member *sender, struct room *room,
                        const char *kind, const char *nick, const struct span *text) {
    const struct berth_host *host = chat->listener->host;
    const char *const words[3] = {kind, room->name, nick};
    struct message *message = message_create(chat, sender, words, text);
    int32_t refused = BERTH_OK;
    uint32_t taken = 0;
    if (!message) {
        return BERTH_E_NO_MEMORY;
    }
    rooms_acquire(chat, room);
    message->room = room;
    for (uint32_t worker = 0; worker < host->workers; worker++) {
        if (atomic_load(&room->seats[worker].count) == 0) {
            continue;
        }
        atomic_fetch_add(&message->references, 1);
        int32_t status = host->post_worker(chat->listener, worker, deliver_to_seats, message);
        if (status == BERTH_OK) {
            taken++;
        } else {
            refused = status;
            atomic_fetch_sub(&message->references, 1);
        }
    }
    message_release(message);
    return refused != BERTH_OK && taken > 0 ? MESSAGE_PARTLY : refused;
}

/* -- to one member --------------------------------------------------------- */

static void BERTH_CALL deliver_to_member(struct berth_conn *conn, int32_t status, void *argument) {
    struct message *message = argument;
    if (status == BERTH_OK) {
        member_receive(conn->state, message);
    }
    message_release(message);
}

int32_t message_to_member(struct chat *chat, struct member *sender, uint64_t conn_id,
                          const struct span *text) {
    const struct berth_host *host = chat->listener->host;
    const char *const words[3] = {"msg", sender->nick, ""};
    struct message *message = message_create(chat, sender, words, text);
    if (!message) {
        return BERTH_E_NO_MEMORY;
    }
    int32_t status = host->post(host, conn_id, deliver_to_member, message);
    if (status != BERTH_OK) {
        message_release(message);
    }
    return status;
}
