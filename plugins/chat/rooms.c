/* The tables of names and rooms, which all workers share under one lock. Nothing here sends, and
 * nothing under the lock waits for anything; a list is bounded by the size of an answer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "chat/chat.h"

static unsigned room_hash_of(const struct chat *chat, const char *name) {
    return (unsigned)siphash(&chat->key, name, strlen(name));
}

#define FIND_NAME(chat, table, name, found)                                                        \
    HASH_FIND_BYHASHVALUE(hh, (chat)->table, name, strlen(name), room_hash_of(chat, name), found)
#define ADD_NAME(chat, table, member, added)                                                       \
    HASH_ADD_BYHASHVALUE(hh, (chat)->table, member[0], strlen((added)->member),                    \
                         room_hash_of(chat, (added)->member), added)

static void room_lock(struct chat *chat) {
    lock_acquire(&chat->lock);
}

static void room_unlock(struct chat *chat) {
    lock_release(&chat->lock);
}

/* -- names ----------------------------------------------------------------- */

static void name_remove(struct chat *chat, struct member *member) {
    if (member->nick[0] != '\0') {
        HASH_DEL(chat->names, member);
        member->nick[0] = '\0';
    }
}

int32_t rooms_rename(struct chat *chat, struct member *member, const char *nick) {
    struct member *holder = NULL;
    int32_t status = BERTH_OK;
    room_lock(chat);
    FIND_NAME(chat, names, nick, holder);
    if (holder) {
        status = holder == member ? BERTH_OK : BERTH_E_STATE;
    } else {
        name_remove(chat, member);
        snprintf(member->nick, sizeof(member->nick), "%s", nick);
        ADD_NAME(chat, names, nick, member);
        if (!member->hh.tbl) {
            member->nick[0] = '\0'; /* the old name is lost, too */
            status = BERTH_E_NO_MEMORY;
        }
    }
    room_unlock(chat);
    return status;
}

void rooms_forget(struct chat *chat, struct member *member) {
    room_lock(chat);
    name_remove(chat, member);
    room_unlock(chat);
}

uint64_t rooms_find(struct chat *chat, const char *nick) {
    struct member *member = NULL;
    room_lock(chat);
    FIND_NAME(chat, names, nick, member);
    uint64_t id = member ? member->conn->id : 0;
    room_unlock(chat);
    return id;
}

/* -- rooms ----------------------------------------------------------------- */

static void room_unrefer(struct chat *chat, struct room *room) {
    if (--room->references == 0) {
        HASH_DEL(chat->rooms, room);
        free(room);
    }
}

/* The room with that name, created if there is none. */
static int32_t room_find_or_create(struct chat *chat, const char *name, struct room **found) {
    uint32_t workers = chat->listener->host->workers;
    FIND_NAME(chat, rooms, name, *found);
    if (*found) {
        return BERTH_OK;
    }
    if (HASH_COUNT(chat->rooms) >= chat->rooms_max) {
        return BERTH_E_STATE;
    }
    struct room *room = calloc(1, sizeof(*room) + workers * sizeof(room->seats[0]));
    if (!room) {
        return BERTH_E_NO_MEMORY;
    }
    snprintf(room->name, sizeof(room->name), "%s", name);
    ADD_NAME(chat, rooms, name, room);
    if (!room->hh.tbl) {
        free(room);
        return BERTH_E_NO_MEMORY;
    }
    *found = room;
    return BERTH_OK;
}

static struct seats *seats_of(const struct member *member) {
    return &member->room->seats[member->conn->worker];
}

int32_t rooms_enter(struct chat *chat, struct member *member, const char *name,
                    struct room **left) {
    struct room *room = NULL;
    room_lock(chat);
    int32_t status = room_find_or_create(chat, name, &room);
    if (status == BERTH_OK && room->count >= chat->members_max) {
        status = BERTH_E_LIMIT;
    }
    if (status == BERTH_OK) {
        room->references++;
        room->count++;
    }
    room_unlock(chat);
    if (status != BERTH_OK) {
        return status;
    }
    *left = member->room ? rooms_leave(chat, member) : NULL;
    member->room = room;
    DL_APPEND(seats_of(member)->members, member);
    atomic_fetch_add(&seats_of(member)->count, 1);
    room_lock(chat);
    DL_APPEND2(room->everybody, member, everybody_prev, everybody_next);
    room_unlock(chat);
    return BERTH_OK;
}

struct room *rooms_leave(struct chat *chat, struct member *member) {
    struct room *room = member->room;
    atomic_fetch_sub(&seats_of(member)->count, 1);
    DL_DELETE(seats_of(member)->members, member);
    room_lock(chat);
    room->count--;
    DL_DELETE2(room->everybody, member, everybody_prev, everybody_next);
    room_unlock(chat);
    member->room = NULL;
    return room;
}

void rooms_acquire(struct chat *chat, struct room *room) {
    room_lock(chat);
    room->references++;
    room_unlock(chat);
}

void rooms_release(struct chat *chat, struct room *room) {
    if (room) {
        room_lock(chat);
        room_unrefer(chat, room);
        room_unlock(chat);
    }
}

uint32_t rooms_count(struct chat *chat, const struct room *room) {
    room_lock(chat);
    uint32_t count = room->count;
    room_unlock(chat);
    return count;
}

/* -- lists ----------------------------------------------------------------- */

/* Appends " WORD" where there is room for it. */
static bool append_word(char text[ANSWER_BYTES_MAX], size_t *used, const char *word) {
    size_t length = strlen(word);
    if (length + 2 > ANSWER_BYTES_MAX - *used) {
        return false;
    }
    text[(*used)++] = ' ';
    memcpy(text + *used, word, length + 1);
    *used += length;
    return true;
}

bool rooms_list_members(struct chat *chat, const char *name, char text[ANSWER_BYTES_MAX]) {
    struct room *room = NULL;
    struct member *member;
    room_lock(chat);
    FIND_NAME(chat, rooms, name, room);
    if (room) {
        size_t used = (size_t)snprintf(text, ANSWER_BYTES_MAX, "%s %u", name, room->count);
        DL_FOREACH2(room->everybody, member, everybody_next) {
            if (!append_word(text, &used, member->nick)) {
                break;
            }
        }
    }
    room_unlock(chat);
    return room != NULL;
}

void rooms_list(struct chat *chat, char text[ANSWER_BYTES_MAX]) {
    struct room *room;
    struct room *next;
    room_lock(chat);
    size_t used = (size_t)snprintf(text, ANSWER_BYTES_MAX, "%u", HASH_COUNT(chat->rooms));
    HASH_ITER(hh, chat->rooms, room, next) {
        if (!append_word(text, &used, room->name)) {
            break;
        }
    }
    room_unlock(chat);
}
