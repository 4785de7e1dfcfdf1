/* What is said, on its way to its receivers.
 *
 * A message is one buffer, however many it is for. It is posted to the workers that the room has
 * members on, one post each, and there one reference of the buffer is queued for every member: no
 * byte is copied, and no lock is held. A sender's messages take the same way one behind the other,
 * so everybody sees them in their order.
 *
 * What is under way is bounded. Of each member it is so many messages; then its next line waits
 * where it came in, and TCP holds it back. Of all it is the host's limit of posts to each worker;
 * beyond that a message is refused, and its sender told. Posts that were taken cannot be taken
 * back, so where some workers refuse one, the others deliver it all the same, and the sender hears
 * which of the two it was: saying it again is only right when nobody has heard it.
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
    atomic_uint references; /* who makes it, and posts */
};

/* -- how much of a sender's is under way ----------------------------------- */

static void under_way_release(atomic_uint *under_way) {
    if (under_way && atomic_fetch_sub(under_way, 1) == 1) {
        free(under_way);
    }
}

/* One more of this member's. The counter outlives both, and counts the member itself as one. */
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

/* A line of those words, the last of which may be missing, for nobody yet. */
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
