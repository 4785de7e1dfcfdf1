/* chat: chat rooms, for a very large number of mostly silent members.
 *
 * A client sends lines of UTF-8 that end in LF or CR LF, without control characters and what makes
 * text look like another line or stand in another order (U+2028 to U+202E, U+2066 to U+2069):
 *
 *     /nick NAME        takes a name; the first thing to do      ok nick NAME
 *     /join ROOM        enters a room, and leaves the last one   ok join ROOM COUNT
 *     TEXT, //TEXT      said in the room; //x says "/x"          say ROOM NICK TEXT, to all in it
 *     /msg NAME TEXT    said to one                              ok msg NAME; msg NICK TEXT to NAME
 *     /leave            leaves the room                          ok leave ROOM
 *     /who [ROOM]       who is there; as many as fit into 4 KiB  who ROOM COUNT NICK…
 *     /rooms            which rooms there are, the same          rooms COUNT ROOM…
 *     /ping, /help      pong; help …
 *     /quit             bye, and the end
 *
 * and reads lines whose first word is their kind: the answers above; `error CODE …`; in small
 * rooms `joined ROOM NICK`, `left ROOM NICK` and `renamed ROOM OLD NEW`; `missed COUNT` after
 * messages that came faster than they were read; `bye …` before the server ends a connection.
 * `error busy`: no member got the line. `error partly-said`: some members did not get it.
 * Names of people and rooms are made of a-z, 0-9, - and _. A line that is too long, or unfinished
 * for too long, is an error and the end; any other mistake is answered and forgotten. With its end
 * a member leaves its room, and its name is free, however long its client keeps the connection.
 *
 * A silent member costs the memory of its connection and of its struct member, and nothing else. */
#include "chat/chat.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/config.h"
#include "common/random.h"

enum {
    LINES_A_TURN_MAX = 64,
    ANSWERED_A_TURN_MAX = 32768,
    HELD_BACK_MS = 10,
    LINE_BYTES_MAX = 16384,
    TIME_MAX_MS = 3600000,
    COUNT_MAX = 1000000,
};

void member_answer(struct member *member, const char *format, ...) {
    char text[ANSWER_BYTES_MAX + NAME_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof(text) - 1, format, arguments);
    va_end(arguments);
    uint32_t size = length < (int)sizeof(text) - 2 ? (uint32_t)length : sizeof(text) - 2;
    text[size++] = '\n';
    member->answered += size;
    member->conn->host->send(member->conn, text, size);
}

/* -- a member's one timer -----------------------------------------------------------------------
 *
 * It runs while a line is unfinished, or while the member is held back; never for both. */

static void BERTH_CALL on_timer(struct berth_timer *timer, void *argument) {
    struct member *member = argument;
    (void)timer;
    if (member->is_held_back) {
        member->is_held_back = false;
        member->conn->host->receive_resume(member->conn);
        return;
    }
    member->is_timed = false;
    member_answer(member, "error slow-line it was not finished in time");
    member_leave(member);
    member->conn->host->close(member->conn);
}

static bool start_timer(struct member *member, uint32_t delay_ms) {
    const struct berth_timer_host *service = chat_of(member->conn)->timer;
    if (!member->timer) {
        member->timer = service->create_for_conn(member->conn, on_timer, member);
    }
    if (member->timer) {
        service->start(member->timer, delay_ms);
    }
    return member->timer != NULL;
}

static void drop_timer(struct member *member) {
    chat_of(member->conn)->timer->destroy(member->timer);
    member->timer = NULL;
    member->is_timed = false;
}

/* -- lines ----------------------------------------------------------------- */

/* Leaves received data unconsumed until the member may continue: after more of its messages are
 * delivered, or its answers so far are sent. */
static void wait_for_next_turn(struct member *member) {
    const struct berth_host *host = member->conn->host;
    host->receive_pause(member->conn);
    member->is_timed = false;
    member->is_held_back = start_timer(member, message_must_wait(member) ? HELD_BACK_MS : 0);
    if (!member->is_held_back) {
        host->abort(member->conn); /* no memory, and nothing would resume it */
    }
}

/* The line at the front is unfinished, or there is none. */
static void wait_for_more(struct member *member, uint32_t size, bool is_new) {
    if (size == 0) {
        drop_timer(member);
    } else if (is_new || !member->is_timed) {
        member->is_timed = start_timer(member, chat_of(member->conn)->line_timeout_ms);
    }
}

static void end_too_long(struct member *member) {
    member_answer(member, "error line-too-long at most %u bytes",
                  (unsigned)chat_of(member->conn)->line_bytes);
    member_leave(member);
    member->conn->host->close(member->conn);
}

/* A CR is not a part of the line; without one, the frame limit admits one byte too many. */
static bool is_too_long(const struct chat *chat, const uint8_t *line, uint32_t size) {
    return size > chat->line_bytes && line[size - 1] != '\r';
}

/* False: the member has sent too much for one turn. */
static bool chat_may_go_on(const struct member *member, uint32_t lines) {
    return lines < LINES_A_TURN_MAX && member->answered < ANSWERED_A_TURN_MAX &&
           !message_must_wait(member);
}

static uint32_t BERTH_CALL received(struct berth_conn *conn, const struct berth_slice *data) {
    const struct chat *chat = chat_of(conn);
    struct member *member = conn->state;
    const struct berth_delimiter_framing lines = {
        .delimiter = "\n", .delimiter_size = 1, .frame_max = chat->line_bytes + 2, /* CR LF */
    };
    struct berth_frame frame;
    uint32_t consumed = 0;
    uint32_t count = 0;
    int32_t found = BERTH_FRAME_PART;
    member->answered = 0;
    while (consumed < data->size) {
        const uint8_t *bytes = data->bytes + consumed;
        if (!chat_may_go_on(member, count)) {
            wait_for_next_turn(member);
            return consumed;
        }
        found = berth_frame_by_delimiter(&lines, bytes, data->size - consumed, &member->searched,
                                         &frame);
        if (found != BERTH_FRAME_WHOLE) {
            break;
        }
        if (is_too_long(chat, bytes, frame.body_size)) {
            found = BERTH_E_LIMIT;
            break;
        }
        struct line line = line_read(bytes, frame.body_size, chat->name_bytes);
        command_run(member, &line);
        consumed += frame.size;
        count++;
        if (line.kind == LINE_QUIT) {
            return data->size;
        }
    }
    if (found != BERTH_FRAME_PART && found != BERTH_FRAME_WHOLE) {
        end_too_long(member);
        return data->size;
    }
    wait_for_more(member, data->size - consumed, count > 0);
    return consumed;
}

/* -- the life of a connection ---------------------------------------------- */

static void BERTH_CALL opened(struct berth_conn *conn) {
    struct member *member = conn->state;
    member->conn = conn;
}

/* The member reads more slowly than it is sent to; the host stops reading from it. */
static void BERTH_CALL filled(struct berth_conn *conn) {
    static const char text[] = "slow receiver: disconnected";
    struct member *member = conn->state;
    member->is_full = true;
    if (!member->is_held_back) {
        drop_timer(member); /* an unfinished line is not its fault now; `received` comes again */
    }
    if (chat_of(conn)->slow == SLOW_DISCONNECT) {
        conn->host->conn_log(conn, BERTH_LOG_INFO, text, sizeof(text) - 1);
        conn->host->abort(conn);
    }
}

static void BERTH_CALL drained(struct berth_conn *conn) {
    struct member *member = conn->state;
    member->is_full = false;
    if (member->missed > 0) {
        member_answer(member, "missed %u", (unsigned)member->missed);
        member->missed = 0;
    }
}

static uint32_t BERTH_CALL closing(struct berth_conn *conn, uint32_t reason) {
    struct member *member = conn->state;
    if (reason == BERTH_CLOSED_TIMEOUT) {
        member_answer(member, "bye idle for too long");
        member_leave(member);
    } else if (conn->host->draining(conn->listener) == BERTH_DRAINING_HOST_STOPS) {
        member_answer(member, "bye the server stops"); /* all end: no announcement */
    } else {
        return BERTH_CLOSING_KEEP; /* members stay in their generation until they leave */
    }
    return BERTH_CLOSING_CLOSE;
}

static void BERTH_CALL closed(struct berth_conn *conn, uint32_t reason) {
    struct member *member = conn->state;
    struct chat *chat = chat_of(conn);
    if (reason == BERTH_CLOSED_STOPPING && member->room) { /* no announcement */
        rooms_release(chat, rooms_leave(chat, member));
    }
    member_leave(member);
    message_forget_sender(member);
}

static uint32_t BERTH_CALL busy(const struct berth_listener *listener,
                                const struct berth_busy *busy_for, uint8_t *answer,
                                uint32_t capacity) {
    (void)busy_for;
    static const char text[] = "error busy too many connections\n";
    (void)listener;
    (void)capacity; /* 4 KiB at the least */
    memcpy(answer, text, sizeof(text) - 1);
    return sizeof(text) - 1;
}

/* -- the plugin ------------------------------------------------------------ */

static int32_t BERTH_CALL load(const struct berth_host *host, void **plugin_state,
                               struct berth_error *error) {
    *plugin_state = (void *)(uintptr_t)host->query(host, BERTH_TIMER_ID); /* only read */
    return *plugin_state ? BERTH_OK
                         : berth_error_set(error, BERTH_E_UNSUPPORTED,
                                           "this host has no timers (" BERTH_TIMER_ID ")");
}

static int32_t chat_read_settings(struct chat *chat, struct berth_error *error) {
    static const char *const slow[] = {"drop-message", "disconnect", NULL};
    const struct config_member members[] = {
        {"line_bytes", CONFIG_NUMBER, .target = &chat->line_bytes, .min = 64,
         .max = LINE_BYTES_MAX},
        {"line_timeout_ms", CONFIG_NUMBER, .target = &chat->line_timeout_ms, .min = 1,
         .max = TIME_MAX_MS},
        {"name_bytes", CONFIG_NUMBER, .target = &chat->name_bytes, .min = 1, .max = NAME_BYTES_MAX},
        {"rooms_max", CONFIG_NUMBER, .target = &chat->rooms_max, .min = 1, .max = COUNT_MAX},
        {"members_max", CONFIG_NUMBER, .target = &chat->members_max, .min = 1, .max = COUNT_MAX},
        {"announce_max", CONFIG_NUMBER, .target = &chat->announce_max, .max = COUNT_MAX},
        {"slow", CONFIG_WORD, .target = &chat->slow, .words = slow},
    };
    int32_t status =
        config_read(chat->listener, members, sizeof(members) / sizeof(members[0]), error);
    /* Otherwise a too long line would abort the connection without an error answer. */
    if (status == BERTH_OK && chat->line_bytes >= chat->listener->message_bytes) {
        return berth_error_set(error, BERTH_E_INVALID,
                               "/line_bytes: %u must be less than the listener's "
                               "\"limits.message_bytes\" (%u): lower the one or raise the other",
                               (unsigned)chat->line_bytes, (unsigned)chat->listener->message_bytes);
    }
    return status;
}

static int32_t BERTH_CALL listener_open(const struct berth_listener *listener, void **state,
                                        struct berth_error *error) {
    struct chat *chat = calloc(1, sizeof(*chat));
    if (!chat) {
        return berth_error_set(error, BERTH_E_NO_MEMORY, "out of memory");
    }
    chat->listener = listener;
    chat->timer = listener->plugin_state;
    chat->line_bytes = 1024;
    chat->line_timeout_ms = 30000;
    chat->name_bytes = 24;
    chat->rooms_max = 1000;
    chat->members_max = 20000;
    chat->announce_max = 50;
    int32_t status = chat_read_settings(chat, error);
    if (status == BERTH_OK && !random_bytes(&chat->key, sizeof(chat->key))) {
        status = berth_error_set(error, BERTH_E_FAILED, "the system has no random bytes");
    }
    if (status == BERTH_OK && !lock_init(&chat->lock)) {
        status = berth_error_set(error, BERTH_E_NO_MEMORY, "out of memory");
    }
    if (status != BERTH_OK) {
        free(chat);
        return status;
    }
    *state = chat;
    return BERTH_OK;
}

static void BERTH_CALL listener_close(const struct berth_listener *listener) {
    struct chat *chat = listener->state;
    unsigned long long skipped = atomic_load(&chat->skipped);
    char text[96];
    if (skipped > 0) {
        int length =
            snprintf(text, sizeof(text), "slow receivers have missed %llu messages", skipped);
        listener->host->log(listener->host, BERTH_LOG_INFO, text, (uint32_t)length);
    }
    lock_fini(&chat->lock);
    free(chat);
}

static const struct berth_plugin chat_plugin = {
    .magic = BERTH_PLUGIN_MAGIC,
    .struct_size = sizeof(struct berth_plugin),
    .abi_major = BERTH_ABI_MAJOR,
    .abi_minor_built = BERTH_ABI_MINOR,
    .abi_draft = BERTH_ABI_DRAFT,
    .conn_state_size = sizeof(struct member),
    .id = "chat",
    .name = "Chat rooms",
    .version = "1.0.0",
    .vendor = "Berth",
    .licence = "MIT",
    .config_schema_json =
        "{\"type\": \"object\", \"additionalProperties\": false, \"properties\": {"
        "\"line_bytes\": {\"type\": \"integer\", \"minimum\": 64, \"maximum\": 16384, "
        "\"default\": 1024, \"description\": \"The longest line.\"},"
        "\"line_timeout_ms\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 3600000, "
        "\"default\": 30000, \"description\": \"For a line to be finished.\"},"
        "\"name_bytes\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 32, \"default\": "
        "24, \"description\": \"Of people and rooms.\"},"
        "\"rooms_max\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 1000000, "
        "\"default\": 1000, \"description\": \"Rooms of the listener.\"},"
        "\"members_max\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 1000000, "
        "\"default\": 20000, \"description\": \"Members of a room.\"},"
        "\"announce_max\": {\"type\": \"integer\", \"minimum\": 0, \"maximum\": 1000000, "
        "\"default\": 50, \"description\": \"joined, left and renamed are told in rooms of up "
        "to so many.\"},"
        "\"slow\": {\"enum\": [\"drop-message\", \"disconnect\"], \"default\": "
        "\"drop-message\", \"description\": \"What becomes of a member whose send queue is "
        "full.\"}}"
        "}",
    .load = load,
    .listener_open = listener_open,
    .listener_close = listener_close,
    .opened = opened,
    .received = received,
    .filled = filled,
    .drained = drained,
    .closed = closed,
    .busy = busy,
    .closing = closing,
};

BERTH_EXPORT const struct berth_plugin *BERTH_CALL BERTH_PLUGIN_ENTRY(void) {
    return &chat_plugin;
}
