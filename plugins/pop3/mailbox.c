#include "mailbox.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/sort.h"
#include "crypto.h"
#include "stuffing.h"

#define LOCK_NAME ".berth-pop3.lock"

enum {
    READ_BYTES = 16384,
    INDEXINGS_MAX = 3, /* of one work */
};

static char *mailbox_copy_of(const char *text) {
    size_t size = strlen(text) + 1;
    char *copy = malloc(size);
    if (copy) {
        memcpy(copy, text, size);
    }
    return copy;
}

/* -- names ----------------------------------------------------------------- */

uint32_t mailbox_unique_size(const char *name) {
    const char *separator = strchr(name, files_info_separator());
    return (uint32_t)(separator ? (size_t)(separator - name) : strlen(name));
}

static bool mailbox_is_same(const struct message *one, const struct message *other) {
    return one->unique_size == other->unique_size &&
           memcmp(one->name, other->name, one->unique_size) == 0;
}

/* Orders by the time at the start of the name, then by the name; for a message listed twice, its
 * new location is first. */
static int mailbox_in_order(const void *left, const void *right, const void *context) {
    const struct message *one = left;
    const struct message *other = right;
    unsigned long long came = strtoull(one->name, NULL, 10);
    unsigned long long other_came = strtoull(other->name, NULL, 10);
    (void)context;
    if (came != other_came) {
        return came < other_came ? -1 : 1;
    }
    uint32_t common = one->unique_size < other->unique_size ? one->unique_size : other->unique_size;
    int compared = memcmp(one->name, other->name, common);
    if (compared != 0) {
        return compared;
    }
    if (one->unique_size != other->unique_size) {
        return one->unique_size < other->unique_size ? -1 : 1;
    }
    int moved = (int)one->in_new - (int)other->in_new;
    return moved != 0 ? moved : strcmp(one->name, other->name);
}

/* -- the two folders, for one work ----------------------------------------- */

struct parts {
    struct mailbox *mailbox;
    bool is_open[2];
    struct files_folder folders[2];
};

static void parts_init(struct parts *parts, struct mailbox *mailbox) {
    *parts = (struct parts){.mailbox = mailbox};
    mailbox->indexings_left = INDEXINGS_MAX;
}

static void parts_fini(struct parts *parts) {
    for (int i = 0; i < 2; i++) {
        if (parts->is_open[i]) {
            files_folder_close(&parts->folders[i]);
        }
    }
}

/* NULL: *status says why. */
static const struct files_folder *parts_get(struct parts *parts, bool in_new,
                                            enum files_status *status) {
    if (!parts->is_open[in_new]) {
        *status = files_folder_enter(&parts->mailbox->folder, in_new ? "new" : "cur",
                                     &parts->folders[in_new]);
        parts->is_open[in_new] = *status == FILES_OK;
    }
    return parts->is_open[in_new] ? &parts->folders[in_new] : NULL;
}

static FILE *open_file(struct parts *parts, const struct message *message,
                       enum files_status *status) {
    const struct files_folder *folder = parts_get(parts, message->in_new, status);
    return folder ? files_read(folder, message->name, status) : NULL;
}

/* -- messages moved by other programs -------------------------------------- */

static bool build_index(struct parts *parts) {
    struct mailbox *mailbox = parts->mailbox;
    index_fini(&mailbox->index);
    mailbox->indexed_s = time(NULL);
    mailbox->indexings_left--;
    for (int i = 0; i < 2; i++) { /* new/ first: a message moved meanwhile is listed twice */
        enum files_status status;
        const struct files_folder *folder = parts_get(parts, i == 0, &status);
        if (folder) {
            index_list(&mailbox->index, folder, i == 0);
        }
    }
    return index_finish(&mailbox->index);
}

static bool is_where_it_was(const struct index *index, const struct index_entry *entry,
                            const struct message *message) {
    return entry->in_new == message->in_new && strcmp(index_name(index, entry), message->name) == 0;
}

/* Searches for a message that is not at its old path. Twins are excluded: they cannot be told
 * apart, and the wrong one might be removed. The cost of a listing grows with the number of
 * messages, so few are made in one work, and a message that was not found a moment ago is not
 * searched again. */
static bool find_again(struct parts *parts, struct message *message) {
    struct mailbox *mailbox = parts->mailbox;
    struct index *index = &mailbox->index;
    if (message->is_twin) {
        return false;
    }
    const struct index_entry *entry = index_find(index, message->name, message->unique_size);
    bool is_old =
        entry ? is_where_it_was(index, entry, message) : mailbox->indexed_s != (int64_t)time(NULL);
    if (is_old) {
        if (mailbox->indexings_left == 0 || !build_index(parts)) {
            return false;
        }
        entry = index_find(index, message->name, message->unique_size);
    }
    char *name = entry && !is_where_it_was(index, entry, message)
                     ? mailbox_copy_of(index_name(index, entry))
                     : NULL;
    if (!name) {
        return false;
    }
    free(message->name);
    message->name = name;
    message->in_new = entry->in_new;
    return true;
}

/* NULL: *status says why. */
static FILE *open_message(struct parts *parts, struct message *message, enum files_status *status) {
    FILE *file = open_file(parts, message, status);
    while (!file && *status == FILES_MISSING && find_again(parts, message)) {
        file = open_file(parts, message, status);
    }
    return file;
}

/* -- opening --------------------------------------------------------------- */

struct listing {
    struct mailbox *mailbox;
    bool in_new;
    bool no_memory;
};

static bool mailbox_list_one(void *argument, const char *name) {
    struct listing *listing = argument;
    struct mailbox *mailbox = listing->mailbox;
    if (name[0] == '.') {
        return true;
    }
    if (mailbox->count == MAILBOX_MESSAGES_MAX) {
        return false;
    }
    if ((mailbox->count & (mailbox->count - 1)) == 0) { /* full: 0, 1, 2, 4, … */
        size_t room = mailbox->count > 0 ? (size_t)mailbox->count * 2 : 1;
        struct message *messages = realloc(mailbox->messages, room * sizeof(*messages));
        listing->no_memory = !messages;
        if (!messages) {
            return false;
        }
        mailbox->messages = messages;
    }
    char *copy = mailbox_copy_of(name);
    listing->no_memory = !copy;
    if (!copy) {
        return false;
    }
    mailbox->messages[mailbox->count++] = (struct message){
        .name = copy, .in_new = listing->in_new, .unique_size = mailbox_unique_size(name)};
    return true;
}

static enum mailbox_status mailbox_fail(char words[MAILBOX_WORDS_MAX], const char *what,
                                        const char *name) {
    snprintf(words, MAILBOX_WORDS_MAX, "%s %.300s", what, name);
    return MAILBOX_FAILED;
}

/* First new/, then cur/: a message that is moved meanwhile is seen twice instead of not at all. */
static enum mailbox_status mailbox_list(struct parts *parts, char words[MAILBOX_WORDS_MAX]) {
    struct mailbox *mailbox = parts->mailbox;
    for (int i = 0; i < 2; i++) {
        struct listing listing = {.mailbox = mailbox, .in_new = i == 0};
        const char *name = i == 0 ? "new" : "cur";
        enum files_status status = FILES_OK;
        const struct files_folder *folder = parts_get(parts, i == 0, &status);
        if (status == FILES_FOREIGN) {
            return mailbox_fail(
                words, "not a folder of the mailbox's owner, but a link or another's:", name);
        }
        if (!folder || files_list(folder, mailbox_list_one, &listing) != FILES_OK) {
            return mailbox_fail(words, "cannot list", name);
        }
        if (listing.no_memory) {
            return mailbox_fail(words, "out of memory in", name);
        }
    }
    return sort_items(mailbox->messages, mailbox->count, sizeof(*mailbox->messages),
                      mailbox_in_order, NULL)
               ? MAILBOX_OPEN
               : mailbox_fail(words, "out of memory in", "new and cur");
}

static bool mailbox_is_there(struct parts *parts, const struct message *message) {
    enum files_status status = FILES_FAILED;
    FILE *file = open_file(parts, message, &status);
    if (file) {
        fclose(file);
    }
    return status != FILES_MISSING;
}

/* A message that was moved during the listing has two names and one file. If both files exist, they
 * are two messages, although a unique name should occur only once. */
static void tell_twins_apart(struct parts *parts) {
    struct mailbox *mailbox = parts->mailbox;
    struct message *messages = mailbox->messages;
    uint32_t kept = 0;
    uint32_t end;
    for (uint32_t begin = 0; begin < mailbox->count; begin = end) {
        uint32_t first = kept;
        end = begin + 1;
        while (end < mailbox->count && mailbox_is_same(&messages[begin], &messages[end])) {
            end++;
        }
        for (uint32_t i = begin; i < end; i++) {
            bool is_last_chance = i + 1 == end && kept == first; /* searched elsewhere */
            bool is_again =
                kept > first && mailbox_in_order(&messages[kept - 1], &messages[i], NULL) == 0;
            if (is_last_chance || (!is_again && mailbox_is_there(parts, &messages[i]))) {
                messages[kept++] = messages[i];
            } else {
                free(messages[i].name);
            }
        }
        for (uint32_t i = first; i < kept; i++) {
            messages[i].is_twin = kept - first > 1;
        }
    }
    mailbox->count = kept;
}

static bool mailbox_measure(FILE *file, uint64_t *count) {
    struct octets octets = {0};
    uint8_t bytes[READ_BYTES];
    size_t size;
    while ((size = fread(bytes, 1, sizeof(bytes), file)) > 0) {
        octets_add(&octets, bytes, (uint32_t)size);
    }
    *count = octets_end(&octets);
    return !ferror(file);
}

static bool needs_hash(const struct message *message) {
    for (uint32_t i = 0; i < message->unique_size; i++) {
        if (message->name[i] <= 0x20 || message->name[i] >= 0x7f) {
            return true;
        }
    }
    return message->unique_size < 1 || message->unique_size > MAILBOX_UID_MAX || message->is_twin;
}

/* A twin uses its whole name, as there is nothing better: its id changes with its flags. */
static bool make_hash(struct message *message) {
    if (message->is_twin) {
        return crypto_md5(message->in_new ? "new/" : "cur/", 4, message->name,
                          strlen(message->name), message->hash);
    }
    return crypto_md5(message->name, message->unique_size, "", 0, message->hash);
}

/* Measures its size, and its id if the name is not usable as one. */
static bool measure_one(struct message *message, FILE *file) {
    return mailbox_measure(file, &message->octets) && (!needs_hash(message) || make_hash(message));
}

/* Sizes must be known at once and to the byte (STAT comes first), so everything is read. */
static enum mailbox_status measure_all(struct parts *parts, char words[MAILBOX_WORDS_MAX]) {
    struct mailbox *mailbox = parts->mailbox;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < mailbox->count; i++) {
        struct message *message = &mailbox->messages[i];
        enum files_status status = FILES_FAILED;
        FILE *file = open_message(parts, message, &status);
        if (!file && (status == FILES_MISSING || status == FILES_FOREIGN)) {
            mailbox->foreign += status == FILES_FOREIGN ? 1 : 0;
            free(message->name);
            message->name = NULL;
            continue;
        }
        bool done = file && measure_one(message, file);
        if (file) {
            fclose(file);
        }
        if (!done) {
            return mailbox_fail(words, "cannot read", message->name);
        }
        mailbox->octets += message->octets;
        struct message measured = *message;
        message->name = NULL;
        mailbox->messages[kept++] = measured;
    }
    mailbox->count = kept;
    return MAILBOX_OPEN;
}

static enum mailbox_status mailbox_take(struct mailbox *mailbox, const char *path,
                                        char words[MAILBOX_WORDS_MAX]) {
    enum files_status status = files_folder_open(path, &mailbox->folder);
    mailbox->is_open = status == FILES_OK;
    if (status == FILES_FOREIGN) {
        return mailbox_fail(
            words,
            "it is a link, or reached by one that belongs to neither root nor the host's "
            "user, or is no folder; the users file needs its own path:",
            path);
    }
    if (status != FILES_OK) {
        return mailbox_fail(words, status == FILES_MISSING ? "there is no" : "cannot open", path);
    }
    status = files_lock(&mailbox->folder, LOCK_NAME, &mailbox->lock);
    mailbox->is_locked = status == FILES_OK;
    if (status == FILES_IN_USE) {
        return MAILBOX_IN_USE;
    }
    return status == FILES_OK ? MAILBOX_OPEN : mailbox_fail(words, "cannot make the lock in", path);
}

static enum mailbox_status mailbox_fill(struct mailbox *mailbox, char words[MAILBOX_WORDS_MAX]) {
    struct parts parts;
    parts_init(&parts, mailbox);
    enum mailbox_status status = mailbox_list(&parts, words);
    if (status == MAILBOX_OPEN) {
        tell_twins_apart(&parts);
        status = measure_all(&parts, words);
    }
    parts_fini(&parts);
    return status;
}

enum mailbox_status mailbox_open(const char *path, struct mailbox **opened,
                                 char words[MAILBOX_WORDS_MAX]) {
    struct mailbox *mailbox = calloc(1, sizeof(*mailbox));
    if (!mailbox) {
        return mailbox_fail(words, "out of memory for", path);
    }
    mailbox->marking = 1;
    enum mailbox_status status = mailbox_take(mailbox, path, words);
    if (status == MAILBOX_OPEN) {
        status = mailbox_fill(mailbox, words);
    }
    if (status != MAILBOX_OPEN) {
        mailbox_close(mailbox);
        return status;
    }
    *opened = mailbox;
    return MAILBOX_OPEN;
}

void mailbox_close(struct mailbox *mailbox) {
    if (!mailbox) {
        return;
    }
    for (uint32_t i = 0; i < mailbox->count; i++) {
        free(mailbox->messages[i].name);
    }
    free(mailbox->messages);
    index_fini(&mailbox->index);
    if (mailbox->is_locked) {
        files_unlock(mailbox->lock);
    }
    if (mailbox->is_open) {
        files_folder_close(&mailbox->folder);
    }
    free(mailbox);
}

/* -- messages -------------------------------------------------------------- */

static bool is_marked(const struct mailbox *mailbox, const struct message *message) {
    return message->marked_in == mailbox->marking;
}

struct message *mailbox_message(const struct mailbox *mailbox, uint32_t number) {
    if (number < 1 || number > mailbox->count ||
        is_marked(mailbox, &mailbox->messages[number - 1])) {
        return NULL;
    }
    return &mailbox->messages[number - 1];
}

void mailbox_mark(struct mailbox *mailbox, struct message *message) {
    message->marked_in = mailbox->marking;
    mailbox->deleted++;
    mailbox->deleted_octets += message->octets;
}

void mailbox_unmark_all(struct mailbox *mailbox) {
    if (mailbox->deleted > 0) {
        mailbox->marking++;
    }
    mailbox->deleted = 0;
    mailbox->deleted_octets = 0;
}

uint64_t mailbox_octets(const struct mailbox *mailbox) {
    return mailbox->octets - mailbox->deleted_octets;
}

uint32_t mailbox_uid(const struct message *message, char uid[MAILBOX_UID_MAX + 1]) {
    if (needs_hash(message)) {
        for (size_t i = 0; i < sizeof(message->hash); i++) {
            snprintf(uid + i * 2, 3, "%02x", message->hash[i]);
        }
        return sizeof(message->hash) * 2;
    }
    memcpy(uid, message->name, message->unique_size);
    uid[message->unique_size] = '\0';
    return message->unique_size;
}

/* -- reading and removing -------------------------------------------------- */

FILE *mailbox_read(struct mailbox *mailbox, struct message *message) {
    struct parts parts;
    enum files_status status;
    parts_init(&parts, mailbox);
    FILE *file = open_message(&parts, message, &status);
    parts_fini(&parts);
    return file;
}

static enum files_status mailbox_remove_file(struct parts *parts, const struct message *message) {
    enum files_status status = FILES_FAILED;
    const struct files_folder *folder = parts_get(parts, message->in_new, &status);
    return folder ? files_remove(folder, message->name) : status;
}

static bool mailbox_remove_one(struct parts *parts, struct message *message) {
    enum files_status status = mailbox_remove_file(parts, message);
    while (status == FILES_MISSING && find_again(parts, message)) {
        status = mailbox_remove_file(parts, message);
    }
    return status == FILES_OK ||
           status == FILES_MISSING; /* removed by another program is removed, too */
}

uint32_t mailbox_update(struct mailbox *mailbox) {
    struct parts parts;
    uint32_t left = 0;
    parts_init(&parts, mailbox);
    for (uint32_t i = 0; i < mailbox->count; i++) {
        struct message *message = &mailbox->messages[i];
        if (is_marked(mailbox, message) && !mailbox_remove_one(&parts, message)) {
            left++;
        }
    }
    parts_fini(&parts);
    return left;
}
