/* The commands. Every line except an empty one is answered by one line: an answer, or the message
 * itself, which the sender gets like every member of the room. */
#include <stdio.h>
#include <string.h>

#include "chat/chat.h"

static void copy_name(char name[NAME_BYTES_MAX + 1], const struct span *span) {
    snprintf(name, NAME_BYTES_MAX + 1, "%.*s", (int)span->size, span->bytes);
}

/* What could not be sent: the sender may try again. */
static void command_answer_busy(struct member *member) {
    member_answer(member, "error busy too much is under way, try again");
}

/* Joins and leaves are announced in small rooms only: in a large room they would be most of the
 * traffic, and n successive joins would cost n*n/2 messages. */
static void command_announce(struct member *member, struct room *room, const char *kind) {
    struct chat *chat = chat_of(member->conn);
    if (rooms_count(chat, room) <= chat->announce_max) {
        message_to_room(chat, member, room, kind, member->nick, NULL);
    }
}

static void run_nick(struct member *member, const struct line *line) {
    struct chat *chat = chat_of(member->conn);
    char name[NAME_BYTES_MAX + 1];
    char before[NAME_BYTES_MAX + 1];
    snprintf(before, sizeof(before), "%s", member->nick);
    copy_name(name, &line->name);
    if (strcmp(before, name) == 0) { /* no change to announce */
        member_answer(member, "ok nick %s", name);
        return;
    }
    int32_t status = rooms_rename(chat, member, name);
    if (status == BERTH_E_STATE) {
        member_answer(member, "error nick-taken %s", name);
    } else if (status != BERTH_OK) {
        command_answer_busy(member);
    } else {
        member_answer(member, "ok nick %s", name);
    }
    if (status == BERTH_OK && member->room &&
        rooms_count(chat, member->room) <= chat->announce_max) {
        struct span now = {member->nick, line->name.size};
        message_to_room(chat, member, member->room, "renamed", before, &now);
    }
}

static void answer_joined(struct member *member) {
    struct chat *chat = chat_of(member->conn);
    member_answer(member, "ok join %s %u", member->room->name,
                  (unsigned)rooms_count(chat, member->room));
}

static void run_join(struct member *member, const struct line *line) {
    struct chat *chat = chat_of(member->conn);
    char name[NAME_BYTES_MAX + 1];
    struct room *left = NULL;
    copy_name(name, &line->name);
    if (member->room && strcmp(member->room->name, name) == 0) {
        answer_joined(member);
        return;
    }
    int32_t status = rooms_enter(chat, member, name, &left);
    if (status == BERTH_E_LIMIT) {
        member_answer(member, "error room-full %s", name);
    } else if (status == BERTH_E_STATE) {
        member_answer(member, "error rooms-full");
    } else if (status != BERTH_OK) {
        command_answer_busy(member);
    } else {
        answer_joined(member);
        if (left) {
            command_announce(member, left, "left");
        }
        command_announce(member, member->room, "joined");
    }
    rooms_release(chat, left);
}

static void run_leave(struct member *member) {
    struct chat *chat = chat_of(member->conn);
    struct room *room = rooms_leave(chat, member);
    member_answer(member, "ok leave %s", room->name);
    command_announce(member, room, "left");
    rooms_release(chat, room);
}

static void run_say(struct member *member, const struct line *line) {
    struct chat *chat = chat_of(member->conn);
    int32_t status = message_to_room(chat, member, member->room, "say", member->nick, &line->text);
    if (status == MESSAGE_PARTLY) {
        member_answer(member, "error partly-said too much is under way, some have not heard it");
    } else if (status != BERTH_OK) {
        command_answer_busy(member);
    }
}

static void run_msg(struct member *member, const struct line *line) {
    struct chat *chat = chat_of(member->conn);
    char name[NAME_BYTES_MAX + 1];
    copy_name(name, &line->name);
    uint64_t id = rooms_find(chat, name);
    int32_t status = id ? message_to_member(chat, member, id, &line->text) : BERTH_E_GONE;
    if (status == BERTH_OK) {
        member_answer(member, "ok msg %s", name);
    } else if (status == BERTH_E_GONE) {
        member_answer(member, "error no-such-nick %s", name);
    } else {
        command_answer_busy(member);
    }
}

static void run_who(struct member *member, const struct line *line) {
    char name[NAME_BYTES_MAX + 1];
    char text[ANSWER_BYTES_MAX];
    const struct span own = {member->room ? member->room->name : "", NAME_BYTES_MAX};
    copy_name(name, line->name.bytes ? &line->name : &own);
    if (name[0] == '\0') {
        member_answer(member, "error no-room join one, or name one");
    } else if (rooms_list_members(chat_of(member->conn), name, text)) {
        member_answer(member, "who %s", text);
    } else {
        member_answer(member, "error no-such-room %s", name);
    }
}

static void run_rooms(struct member *member) {
    char text[ANSWER_BYTES_MAX];
    rooms_list(chat_of(member->conn), text);
    member_answer(member, "rooms %s", text);
}

void member_leave(struct member *member) {
    struct chat *chat = chat_of(member->conn);
    struct room *room = member->room ? rooms_leave(chat, member) : NULL;
    if (room) {
        command_announce(member, room, "left");
    }
    rooms_release(chat, room);
    rooms_forget(chat, member);
}

static void run_quit(struct member *member) {
    member_answer(member, "bye");
    member_leave(member);
    member->conn->host->close(member->conn);
}

static void answer_fault(struct member *member, enum line_kind kind) {
    switch (kind) {
    case LINE_NOT_TEXT:
        member_answer(member, "error not-text a line is UTF-8 without what controls its showing");
        break;
    case LINE_UNKNOWN:
        member_answer(member, "error unknown-command try /help");
        break;
    case LINE_BAD_NAME:
        member_answer(member, "error bad-name 1 to %u of a-z, 0-9, - and _",
                      (unsigned)chat_of(member->conn)->name_bytes);
        break;
    case LINE_MISSING:
        member_answer(member, "error missing-word try /help");
        break;
    default:
        member_answer(member, "error surplus-word try /help");
        break;
    }
}

/* Whether the member has the name and the room that the command requires. */
static bool may_run(struct member *member, enum line_kind kind) {
    bool wants_room = kind == LINE_SAY || kind == LINE_LEAVE;
    bool wants_nick = wants_room || kind == LINE_JOIN || kind == LINE_MSG;
    if (wants_nick && member->nick[0] == '\0') {
        member_answer(member, "error no-nick say /nick NAME first");
        return false;
    }
    if (wants_room && !member->room) {
        member_answer(member, "error no-room say /join ROOM first");
        return false;
    }
    return true;
}

void command_run(struct member *member, const struct line *line) {
    if (!may_run(member, line->kind)) {
        return;
    }
    switch (line->kind) {
    case LINE_EMPTY:
        break;
    case LINE_SAY:
        run_say(member, line);
        break;
    case LINE_HELP:
        member_answer(member, "help /nick NAME, /join ROOM, /leave, /msg NAME TEXT, /who [ROOM], "
                              "/rooms, /ping, /quit; anything else is said, //TEXT as /TEXT");
        break;
    case LINE_JOIN:
        run_join(member, line);
        break;
    case LINE_LEAVE:
        run_leave(member);
        break;
    case LINE_MSG:
        run_msg(member, line);
        break;
    case LINE_NICK:
        run_nick(member, line);
        break;
    case LINE_PING:
        member_answer(member, "pong");
        break;
    case LINE_QUIT:
        run_quit(member);
        break;
    case LINE_ROOMS:
        run_rooms(member);
        break;
    case LINE_WHO:
        run_who(member, line);
        break;
    default:
        answer_fault(member, line->kind);
        break;
    }
}
