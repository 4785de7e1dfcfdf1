/* mailbox.h: one user's Maildir, taken alone for one session.
 *
 * What a session sees are the messages that lay in new/ and cur/ when it began. Nothing is moved or
 * renamed: until mailbox_update() a mailbox is only read, so a session that ends in any other way
 * changes nothing. Others may deliver, and move messages or change their flags meanwhile; a message
 * is then found again by the unique part of its name, if that is as unique as it should be. What is
 * no regular file of the mailbox's owner is no message (files.h).
 *
 * Opening, closing, updating and reading may block: for works only. All else is memory. One thread
 * at a time. */
#ifndef BERTH_PLUGINS_POP3_MAILBOX_H
#define BERTH_PLUGINS_POP3_MAILBOX_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "files.h"
#include "index.h"

enum { MAILBOX_UID_MAX = 70, MAILBOX_WORDS_MAX = 512 };

/* Those beyond are seen when others are gone. */
enum { MAILBOX_MESSAGES_MAX = 1000000 };

struct message {
    char *name; /* of the file, with its flags */
    bool in_new;
    bool is_twin;         /* another has the same unique part */
    uint32_t marked_in;   /* the mailbox's `marking`, when it was marked as deleted */
    uint8_t hash[16];     /* of the name, where its unique part is no good as an id; else zero */
    uint32_t unique_size; /* how much of the name stays the same */
    uint64_t octets;
};

struct mailbox {
    struct files_folder folder;
    bool is_open;
    bool is_locked;
    intptr_t lock;
    struct message *messages; /* in the order they came */
    uint32_t count;
    uint32_t foreign; /* files that are no messages: links, devices, of other owners */
    uint32_t marking; /* counts up whenever all marks are removed; from 1 */
    uint32_t deleted; /* how many are marked */
    uint64_t deleted_octets;
    uint64_t octets; /* of all */
    /* Where the messages are, when one was last missing where it had been. */
    struct index index;
    int64_t indexed_s;
    uint32_t indexings_left; /* of the work that runs */
};

/* How much of a file's name stays the same when its flags change. */
uint32_t mailbox_unique_size(const char *name);

enum mailbox_status {
    MAILBOX_OPEN,
    MAILBOX_IN_USE, /* another session has it */
    MAILBOX_FAILED, /* `words` tells why */
};

enum mailbox_status mailbox_open(const char *path, struct mailbox **mailbox,
                                 char words[MAILBOX_WORDS_MAX]);

/* Gives it back as it is. NULL is legal. */
void mailbox_close(struct mailbox *mailbox);

/* The message of that number, from 1; NULL when there is none, or it is marked. */
struct message *mailbox_message(const struct mailbox *mailbox, uint32_t number);

/* Both cost the same, however many messages there are: clients ask for them on an I/O thread. */
void mailbox_mark(struct mailbox *mailbox, struct message *message);
void mailbox_unmark_all(struct mailbox *mailbox);

uint64_t mailbox_octets(const struct mailbox *mailbox); /* of what is not marked */

/* An id of 1 to 70 printable characters, the same in every session. Returns its length. */
uint32_t mailbox_uid(const struct message *message, char uid[MAILBOX_UID_MAX + 1]);

/* NULL when it is gone, or cannot be read. */
FILE *mailbox_read(struct mailbox *mailbox, struct message *message);

/* Removes what is marked. Returns how many of them are still there. */
uint32_t mailbox_update(struct mailbox *mailbox);

#endif
