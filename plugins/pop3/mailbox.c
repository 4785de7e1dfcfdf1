#include "mailbox.h"

#include <stdlib.h>
#include <string.h>

#include "crypto.h"
#include "files.h"
#include "stuffing.h"

#define LOCK_NAME ".berth-pop3.lock"

enum { READ_BYTES = 16384 };

static char *copy_of(const char *text) {
    size_t size = strlen(text) + 1;
    char *copy = malloc(size);
    if (copy) {
        memcpy(copy, text, size);
    }
    return copy;
}

/* -- names -------------------------------------------------------------------------------------
 */

static uint32_t unique_size(const char *name) {
    const char *separator = strchr(name, files_info_separator());
    return (uint32_t)(separator ? (size_t)(separator - name) : strlen(name));
}

static bool path_of(const struct mailbox *mailbox, const struct message *message,
                    char path[FILES_PATH_MAX]) {
    int size = snprintf(path, FILES_PATH_MAX, "%s/%s/%s", mailbox->path,
                        message->in_new ? "new" : "cur", message->name);
    return size > 0 && size < FILES_PATH_MAX;
}

static bool is_same(const struct message *one, const struct message *other) {
    return one->unique_size == other->unique_size &&
           memcmp(one->name, other->name, one->unique_size) == 0;
}

/* By the time in front of the name, then by the name; of one message twice, first where it has gone
 * to. */
static int in_order(const void *left, const void *right) {
    const struct message *one = left;
    const struct message *other = right;
    unsigned long long came = strtoull(one->name, NULL, 10);
    unsigned long long other_came = strtoull(other->name, NULL, 10);
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

/* -- what others may have moved ----------------------------------------------------------------
 */

struct search {
    struct message *message;
    char *name; /* that it has now */
};

static bool search_one(void *argument, const char *name) {
    struct search *search = argument;
    const struct message *message = search->message;
    if (unique_size(name) != message->unique_size ||
        memcmp(name, message->name, message->unique_size) != 0) {
        return true;
    }
    search->name = copy_of(name);
    return false;
}

/* Whether a message that is not where it was is somewhere else. Of twins nobody could tell which it
 * is, and the wrong one might be removed. */
static bool find_again(const struct mailbox *mailbox, struct message *message) {
    char path[FILES_PATH_MAX];
    for (int i = 0; i < 2 && !message->is_twin; i++) {
        struct search search = {.message = message};
        snprintf(path, sizeof(path), "%s/%s", mailbox->path, i == 0 ? "new" : "cur");
        files_list(path, search_one, &search);
        if (search.name) {
            free(message->name);
            message->name = search.name;
            message->in_new = i == 0;
            return true;
        }
    }
    return false;
}

/* NULL: *status says why. */
static FILE *open_message(const struct mailbox *mailbox, struct message *message,
                          enum files_status *status) {
    char path[FILES_PATH_MAX];
    *status = FILES_FAILED;
    FILE *file = path_of(mailbox, message, path) ? files_open(path, status) : NULL;
    if (!file && *status == FILES_MISSING && find_again(mailbox, message) &&
        path_of(mailbox, message, path)) {
        file = files_open(path, status);
    }
    return file;
}

/* -- opening -----------------------------------------------------------------------------------
 */

struct listing {
    struct mailbox *mailbox;
    bool in_new;
    bool no_memory;
};

static bool list_one(void *argument, const char *name) {
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
    char *copy = copy_of(name);
    listing->no_memory = !copy;
    if (!copy) {
        return false;
    }
    mailbox->messages[mailbox->count++] =
        (struct message){.name = copy, .in_new = listing->in_new, .unique_size = unique_size(name)};
    return true;
}

static enum mailbox_status fail(char words[MAILBOX_WORDS_MAX], const char *what, const char *path) {
    snprintf(words, MAILBOX_WORDS_MAX, "%s %.400s", what, path);
    return MAILBOX_FAILED;
}

/* First new/, then cur/: what somebody moves meanwhile is seen twice, and not never. */
static enum mailbox_status list(struct mailbox *mailbox, char words[MAILBOX_WORDS_MAX]) {
    static const char *const folders[] = {"new", "cur"};
    char path[FILES_PATH_MAX];
    for (size_t i = 0; i < 2; i++) {
        struct listing listing = {.mailbox = mailbox, .in_new = i == 0};
        snprintf(path, sizeof(path), "%s/%s", mailbox->path, folders[i]);
        if (files_make_folder(path) != FILES_OK ||
            files_list(path, list_one, &listing) != FILES_OK) {
            return fail(words, "cannot list", path);
        }
        if (listing.no_memory) {
            return fail(words, "out of memory in", path);
        }
    }
    if (mailbox->count > 1) {
        qsort(mailbox->messages, mailbox->count, sizeof(*mailbox->messages), in_order);
    }
    return MAILBOX_OPEN;
}

static bool is_there(const struct mailbox *mailbox, const struct message *message) {
    char path[FILES_PATH_MAX];
    enum files_status status = FILES_FAILED;
    FILE *file = path_of(mailbox, message, path) ? files_open(path, &status) : NULL;
    if (file) {
        fclose(file);
    }
    return status != FILES_MISSING;
}

/* One that was moved while it was listed has two names, and one file. Where both files are there,
 * they are two messages, though no two should have the same unique name. */
static void tell_twins_apart(struct mailbox *mailbox) {
    struct message *messages = mailbox->messages;
    uint32_t kept = 0;
    uint32_t end;
    for (uint32_t begin = 0; begin < mailbox->count; begin = end) {
        uint32_t first = kept;
        end = begin + 1;
        while (end < mailbox->count && is_same(&messages[begin], &messages[end])) {
            end++;
        }
        for (uint32_t i = begin; i < end; i++) {
            bool is_last_chance = i + 1 == end && kept == first; /* it is looked for elsewhere */
            bool is_again = kept > first && in_order(&messages[kept - 1], &messages[i]) == 0;
            if (is_last_chance || (!is_again && is_there(mailbox, &messages[i]))) {
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

static bool measure(FILE *file, uint64_t *count) {
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

/* Of a twin all of its name, for want of something better: its id is another when its flags are. */
static bool make_hash(struct message *message) {
    if (message->is_twin) {
        return crypto_md5(message->in_new ? "new/" : "cur/", 4, message->name,
                          strlen(message->name), message->hash);
    }
    return crypto_md5(message->name, message->unique_size, "", 0, message->hash);
}

/* Sizes must be known at once and to the byte (STAT comes first), so everything is read. */
static enum mailbox_status measure_all(struct mailbox *mailbox, char words[MAILBOX_WORDS_MAX]) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < mailbox->count; i++) {
        struct message *message = &mailbox->messages[i];
        enum files_status status = FILES_FAILED;
        FILE *file = open_message(mailbox, message, &status);
        if (!file && status == FILES_MISSING) {
            free(message->name);
            message->name = NULL;
            continue;
        }
        bool done = file && measure(file, &message->octets);
        if (file) {
            fclose(file);
        }
        if (done && needs_hash(message)) {
            done = make_hash(message);
        }
        if (!done) {
            return fail(words, "cannot read", message->name);
        }
        mailbox->octets += message->octets;
        struct message measured = *message;
        message->name = NULL;
        mailbox->messages[kept++] = measured;
    }
    mailbox->count = kept;
    return MAILBOX_OPEN;
}

static enum mailbox_status take(struct mailbox *mailbox, char words[MAILBOX_WORDS_MAX]) {
    char path[FILES_PATH_MAX];
    int size = snprintf(path, sizeof(path), "%s/" LOCK_NAME, mailbox->path);
    if (size < 0 || size >= (int)sizeof(path)) {
        return fail(words, "the path is too long:", mailbox->path);
    }
    enum files_status status = files_lock(path, &mailbox->lock);
    mailbox->is_locked = status == FILES_OK;
    if (status == FILES_IN_USE) {
        return MAILBOX_IN_USE;
    }
    return status == FILES_OK ? MAILBOX_OPEN : fail(words, "cannot make the lock", path);
}

enum mailbox_status mailbox_open(const char *path, struct mailbox **opened,
                                 char words[MAILBOX_WORDS_MAX]) {
    struct mailbox *mailbox = calloc(1, sizeof(*mailbox));
    enum mailbox_status status = MAILBOX_FAILED;
    if (mailbox) {
        mailbox->path = copy_of(path);
    }
    if (!mailbox || !mailbox->path) {
        fail(words, "out of memory for", path);
        goto fail;
    }
    status = take(mailbox, words);
    if (status == MAILBOX_OPEN) {
        status = list(mailbox, words);
    }
    if (status == MAILBOX_OPEN) {
        tell_twins_apart(mailbox);
        status = measure_all(mailbox, words);
    }
    if (status == MAILBOX_OPEN) {
        *opened = mailbox;
        return MAILBOX_OPEN;
    }
fail:
    mailbox_close(mailbox);
    return status;
}

void mailbox_close(struct mailbox *mailbox) {
    if (!mailbox) {
        return;
    }
    for (uint32_t i = 0; i < mailbox->count; i++) {
        free(mailbox->messages[i].name);
    }
    free(mailbox->messages);
    if (mailbox->is_locked) {
        files_unlock(mailbox->lock);
    }
    free(mailbox->path);
    free(mailbox);
}

/* -- messages ----------------------------------------------------------------------------------
 */

struct message *mailbox_message(const struct mailbox *mailbox, uint32_t number) {
    if (number < 1 || number > mailbox->count || mailbox->messages[number - 1].is_deleted) {
        return NULL;
    }
    return &mailbox->messages[number - 1];
}

void mailbox_mark(struct mailbox *mailbox, struct message *message) {
    message->is_deleted = true;
    mailbox->deleted++;
    mailbox->octets -= message->octets;
}

void mailbox_unmark_all(struct mailbox *mailbox) {
    for (uint32_t i = 0; i < mailbox->count; i++) {
        struct message *message = &mailbox->messages[i];
        mailbox->octets += message->is_deleted ? message->octets : 0;
        message->is_deleted = false;
    }
    mailbox->deleted = 0;
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

/* -- reading and removing -----------------------------------------------------------------------
 */

FILE *mailbox_read(const struct mailbox *mailbox, struct message *message) {
    enum files_status status;
    return open_message(mailbox, message, &status);
}

static bool remove_one(const struct mailbox *mailbox, struct message *message) {
    char path[FILES_PATH_MAX];
    enum files_status status = path_of(mailbox, message, path) ? files_remove(path) : FILES_FAILED;
    if (status == FILES_MISSING && find_again(mailbox, message)) {
        status = path_of(mailbox, message, path) ? files_remove(path) : FILES_FAILED;
    }
    return status != FILES_FAILED; /* what somebody else removed is removed */
}

uint32_t mailbox_update(struct mailbox *mailbox) {
    uint32_t left = 0;
    for (uint32_t i = 0; i < mailbox->count; i++) {
        struct message *message = &mailbox->messages[i];
        if (message->is_deleted && !remove_one(mailbox, message)) {
            left++;
        }
    }
    return left;
}
