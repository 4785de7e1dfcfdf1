/* chat.h: the parts of the chat plugin.
 *
 * chat.c      the callbacks, and the limits of a connection's lines
 * commands.c  what the lines do
 * rooms.c     the tables of names and rooms
 * messages.c  messages, from the sender to the receivers
 * line.c      the parser of a line
 *
 * Three kinds of state, by the threads that may use them:
 *   a member     the state of a connection: its worker alone, but for what says "under the lock"
 *   the seats    of a room on a worker: that worker alone; fanning out needs no lock
 *   the lists    of names and rooms, shared: under chat->lock, which is held briefly, never
 *                while something is sent */
#ifndef BERTH_PLUGINS_CHAT_CHAT_H
#define BERTH_PLUGINS_CHAT_CHAT_H

/* A plugin must not end the host when memory runs out: an item that was not added has no table. */
#define HASH_NONFATAL_OOM 1

#include <berth/berth.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <uthash.h>

#include "base/siphash.h"
#include "chat/line.h"
#include "common/format.h"
#include "common/lock.h"

enum { SLOW_DROP_MESSAGE, SLOW_DISCONNECT };

enum { ANSWER_BYTES_MAX = 4096 }; /* of one line that is not a message */

/* Of a listener. The settings are read-only. */
struct chat {
    const struct berth_listener *listener;
    const struct berth_timer_host *timer;
    uint32_t line_bytes;
    uint32_t line_timeout_ms;
    uint32_t name_bytes;
    uint32_t rooms_max;
    uint32_t members_max; /* a room */
    uint32_t announce_max;
    uint32_t slow;         /* SLOW_* */
    atomic_ullong skipped; /* messages dropped for slow receivers */
    struct lock lock;
    struct siphash_key key; /* of both tables: clients choose the names */
    struct member *names;   /* uthash, by nick; under the lock */
    struct room *rooms;     /* uthash, by name; under the lock */
};

struct seats {
    struct member *members; /* utlist: members on one worker; used by it alone */
    atomic_uint count;      /* of members; for other threads */
};

struct room {
    char name[NAME_BYTES_MAX + 1];
    uint32_t references;      /* members, and messages under way; under the lock */
    uint32_t count;           /* of members; under the lock */
    struct member *everybody; /* utlist, by everybody_*; under the lock */
    UT_hash_handle hh;
    struct seats seats[]; /* one a worker */
};

/* The state of a connection. Small: most of them are idle most of the time. */
struct member {
    struct berth_conn *conn;
    struct room *room;   /* NULL: in none */
    struct member *prev; /* in room->seats[conn->worker] */
    struct member *next;
    struct member *everybody_prev;
    struct member *everybody_next;
    atomic_uint *under_way; /* its messages in transit, plus one: see messages.c; NULL: none yet */
    struct berth_timer *timer; /* only while a line is unfinished or it is held back */
    uint32_t searched;         /* of the unfinished line, for its end */
    uint32_t answered;         /* bytes, in this turn */
    uint32_t missed;           /* messages, since its queue filled */
    bool is_full;
    bool is_held_back;             /* it sends more than can be delivered */
    bool is_timed;                 /* the timer runs, for the unfinished line */
    char nick[NAME_BYTES_MAX + 1]; /* "" at first; written under the lock */
    UT_hash_handle hh;             /* under the lock */
};

static inline struct chat *chat_of(const struct berth_conn *conn) {
    return conn->listener->state;
}

/* -- chat.c ---------------------------------------------------------------- */

/* Sends one line to the member, formatted as by printf; adds the line end; truncates a too long
 * line. */
PLUGIN_PRINTF(2, 3) void member_answer(struct member *member, const char *format, ...);

/* -- commands.c ------------------------------------------------------------ */

void command_run(struct member *member, const struct line *line);

/* Removes the member from its room, with an announcement, and frees its name. Called before the
 * connection is closed, because the client can delay the close. A second call does nothing. */
void member_leave(struct member *member);

/* -- rooms.c --------------------------------------------------------------- */

/* BERTH_E_STATE: another member has the name. BERTH_E_NO_MEMORY. */
int32_t rooms_rename(struct chat *chat, struct member *member, const char *nick);

/* Frees the member's name, if it has one. */
void rooms_forget(struct chat *chat, struct member *member);

/* Moves the member into a room, out of its previous one, if any; *left is the previous one, with a
 * reference for the caller. BERTH_E_LIMIT: the room is full; BERTH_E_STATE: there are too many
 * rooms; BERTH_E_NO_MEMORY. */
int32_t rooms_enter(struct chat *chat, struct member *member, const char *name, struct room **left);

/* Removes the member from its room; the caller gets a reference to the room. */
struct room *rooms_leave(struct chat *chat, struct member *member);

void rooms_acquire(struct chat *chat, struct room *room);         /* the caller has one already */
void rooms_release(struct chat *chat, struct room *room);         /* NULL is legal */
uint32_t rooms_count(struct chat *chat, const struct room *room); /* of members */

/* The id of the connection with that name; 0: none. */
uint64_t rooms_find(struct chat *chat, const char *nick);

/* "ROOM COUNT NICK …" and "COUNT ROOM …", as many as fit. False: there is no such room. */
bool rooms_list_members(struct chat *chat, const char *name, char text[ANSWER_BYTES_MAX]);
void rooms_list(struct chat *chat, char text[ANSWER_BYTES_MAX]);

/* -- messages.c ------------------------------------------------------------ */

enum { MESSAGE_PARTLY = 1 };

/* To all members of the room; "KIND ROOM NICK TEXT". `sender` NULL: counted for no member.
 * BERTH_E_LIMIT: too many messages in transit; BERTH_E_NO_MEMORY. Then no member gets it.
 * MESSAGE_PARTLY: some workers refused it, and their members do not get it; the others do. */
int32_t message_to_room(struct chat *chat, struct member *sender, struct room *room,
                        const char *kind, const char *nick, const struct span *text);

/* To one connection: "msg NICK TEXT". The same failures, and BERTH_E_GONE. */
int32_t message_to_member(struct chat *chat, struct member *sender, uint64_t conn_id,
                          const struct span *text);

/* Whether the member has so many messages in transit that its next line must wait. */
bool message_must_wait(const struct member *member);

void message_forget_sender(struct member *member);

#endif
