/* answer.c: answers of many lines.
 *
 * They are built in pieces, each by a work: a message is read from its file, and a list of a
 * million messages is also built in pieces. While the send queue is full, no piece is built, so an
 * answer of any length needs memory for one piece and one queue. */
#include <string.h>

#include "session.h"

enum {
    READ_BYTES = 16384,
    LINE_BYTES_MAX = 96, /* of a list: a number, an id, the spaces; also of the first line */
    PIECE_BYTES = 2 * READ_BYTES + LINE_BYTES_MAX + STUFFING_END_MAX,
};

static void answer_continue(struct session *session);

/* -- on a thread of the pool ----------------------------------------------- */

static void answer_put_text(struct berth_slice *piece, const char *text) {
    size_t size = strlen(text);
    memcpy(piece->bytes + piece->size, text, size);
    piece->size += (uint32_t)size;
}

/* False: there is nothing to send it from. */
static bool begin_message(struct session *session) {
    struct answer *answer = &session->answer;
    struct message *message = mailbox_message(session->mailbox, answer->number);
    char text[LINE_BYTES_MAX];
    answer->file = message ? mailbox_read(session->mailbox, message) : NULL;
    if (!answer->file) {
        answer_put_text(&answer->piece, "-ERR the message is not there any more\r\n");
        answer->is_finished = true;
        return false;
    }
    snprintf(text, sizeof(text), "+OK %llu octets\r\n", (unsigned long long)message->octets);
    answer_put_text(&answer->piece, text);
    return true;
}

static void make_of_message(struct session *session) {
    struct answer *answer = &session->answer;
    struct berth_slice *piece = &answer->piece;
    uint8_t bytes[READ_BYTES];
    if (!answer->is_begun && !begin_message(session)) {
        return;
    }
    size_t size = fread(bytes, 1, sizeof(bytes), answer->file);
    piece->size +=
        stuffing_add(&answer->stuffing, bytes, (uint32_t)size, piece->bytes + piece->size);
    if (ferror(answer->file)) {
        answer->is_failed = true;
    } else if (size < sizeof(bytes) || answer->stuffing.is_complete) {
        piece->size += stuffing_end(&answer->stuffing, piece->bytes + piece->size);
        answer->is_finished = true;
    }
    if (answer->is_failed || answer->is_finished) {
        fclose(answer->file);
        answer->file = NULL;
    }
}

static void make_of_list(struct session *session) {
    struct answer *answer = &session->answer;
    const struct mailbox *mailbox = session->mailbox;
    char text[LINE_BYTES_MAX];
    char uid[MAILBOX_UID_MAX + 1];
    if (!answer->is_begun) {
        answer_put_text(&answer->piece, "+OK\r\n");
    }
    while (answer->number <= mailbox->count &&
           answer->piece.size + LINE_BYTES_MAX + STUFFING_END_MAX <= PIECE_BYTES) {
        const struct message *message = mailbox_message(mailbox, answer->number);
        if (message && answer->kind == ANSWER_UIDS) {
            mailbox_uid(message, uid);
            snprintf(text, sizeof(text), "%u %s\r\n", (unsigned)answer->number, uid);
            answer_put_text(&answer->piece, text);
        } else if (message) {
            snprintf(text, sizeof(text), "%u %llu\r\n", (unsigned)answer->number,
                     (unsigned long long)message->octets);
            answer_put_text(&answer->piece, text);
        }
        answer->number++;
    }
    if (answer->number > mailbox->count) {
        answer_put_text(&answer->piece, ".\r\n");
        answer->is_finished = true;
    }
}

static void answer_make(struct session *session) {
    struct answer *answer = &session->answer;
    if (session->host->buffer_create(session->host, PIECE_BYTES, &answer->piece) != BERTH_OK) {
        answer->is_failed = true;
        return;
    }
    answer->piece.size = 0;
    if (answer->kind == ANSWER_MESSAGE) {
        make_of_message(session);
    } else {
        make_of_list(session);
    }
    answer->is_begun = true;
}

/* -- on the connection's worker -------------------------------------------- */

static void answer_made(struct session *session) {
    struct answer *answer = &session->answer;
    struct berth_slice piece = answer->piece;
    answer->piece = (struct berth_slice){0};
    if (answer->is_failed) {
        /* Resets: a client could take a FIN for the end of the whole message. */
        session->host->buffer_release(piece.buffer);
        session_log(session, BERTH_LOG_ERROR, "an answer could not be finished: reset");
        session->state = SESSION_OVER;
        session->host->abort(session->conn);
        return;
    }
    if (session->host->send_slices(session->conn, &piece, 1) != BERTH_OK) {
        session->state = SESSION_OVER; /* the connection is ending */
        return;
    }
    if (answer->is_finished) {
        session_ready(session);
        return;
    }
    answer_continue(session);
}

static void answer_continue(struct session *session) {
    session_note_activity(session);
    session->answer.waits = session->is_filled;
    if (!session->is_filled) {
        session_work(session, 0, answer_make, answer_made);
    }
}

void answer_go_on(struct session *session) {
    if (session->answer.waits) {
        answer_continue(session);
    }
}

static void answer_start(struct session *session, struct answer answer) {
    session->answer = answer;
    session->busy = true;
    session->host->receive_pause(session->conn);
    answer_continue(session);
}

void answer_message(struct session *session, uint32_t number, uint32_t lines) {
    struct answer answer = {.kind = ANSWER_MESSAGE, .number = number};
    stuffing_init(&answer.stuffing, lines);
    answer_start(session, answer);
}

void answer_list(struct session *session, bool uids) {
    answer_start(session, (struct answer){.kind = uids ? ANSWER_UIDS : ANSWER_SIZES, .number = 1});
}
