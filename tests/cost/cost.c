/* What peers and operators may have done many times, so many times: tests/cost/test_cost.py counts
 * the instructions of it at several sizes.
 *
 *     cost names COUNT       prints names that an unkeyed table puts into one bucket
 *     cost chat COUNT FILE   reads them, and gives each to a member of a chat
 *     cost networks COUNT    prints IPv6 networks that an unkeyed table puts into one bucket
 *     cost clients COUNT FILE  reads them, and lets a client of each come
 *     cost header COUNT      reads a PROXY header with so many TLVs
 *     cost mailbox FOLDER    moves all messages of new/ to cur/, reads them and removes them */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chat/chat.h"
#include "net/lib/client_table.h"
#include "net/lib/proxy_header.h"
#include "pop3/mailbox.h"

static void check(int holds, const char *what) {
    if (!holds) {
        fprintf(stderr, "cost: %s\n", what);
        exit(EXIT_FAILURE);
    }
}

/* Whether the table of an attacker's own puts it where it puts all the others. */
static int is_in_first_bucket(const void *key, size_t size) {
    enum { BUCKETS = 1024 };
    unsigned hash = 0;
    HASH_JEN(key, size, hash);
    return hash % BUCKETS == 0;
}

static unsigned long read_number(unsigned long *number) {
    return scanf("%lx", number) == 1; // NOLINT(cert-err34-c): of our own making
}

/* -- tables ---------------------------------------------------------------- */

static void print_names(unsigned long count) {
    char name[NAME_BYTES_MAX + 1];
    for (unsigned long i = 0; count > 0; i++) {
        size_t size = (size_t)snprintf(name, sizeof(name), "n%lx", i);
        if (is_in_first_bucket(name, size)) {
            printf("%lx\n", i);
            count--;
        }
    }
}

static void chat(unsigned long count) {
    struct chat one = {.key = {{1, 2}}};
    struct member *members = calloc(count, sizeof(*members));
    unsigned long number;
    check(members != NULL && lock_init(&one.lock), "memory");
    for (unsigned long i = 0; i < count && read_number(&number); i++) {
        char name[NAME_BYTES_MAX + 1];
        snprintf(name, sizeof(name), "n%lx", number);
        check(rooms_rename(&one, &members[i], name) == BERTH_OK, "a name");
    }
    check(HASH_COUNT(one.names) == count, "the names");
    for (unsigned long i = 0; i < count; i++) {
        rooms_forget(&one, &members[i]);
    }
    free(members);
}

static struct berth_address network(unsigned long number) {
    struct berth_address address = {.family = BERTH_FAMILY_IPV6, .bytes = {0x20, 0x01}};
    for (size_t i = 0; i < 6; i++) {
        address.bytes[7 - i] = (uint8_t)(number >> 8 * i);
    }
    return address;
}

static void print_networks(unsigned long count) {
    for (unsigned long i = 0; count > 0; i++) {
        struct berth_address address = network(i);
        struct {
            uint32_t family;
            uint32_t scope_id;
            uint8_t bytes[16];
        } key = {address.family, 0, {0}}; /* as client_table.c has it */
        memcpy(key.bytes, address.bytes, 8);
        if (is_in_first_bucket(&key, sizeof(key))) {
            printf("%lx\n", i);
            count--;
        }
    }
}

static void clients(unsigned long count) {
    const struct client_limits limits = {.connections_max = 1, .idle_max = 1};
    struct client_table table;
    unsigned long *numbers = calloc(count, sizeof(*numbers));
    client_table_init(&table, &limits);
    check(numbers != NULL, "memory");
    for (unsigned long i = 0; i < count && read_number(&numbers[i]); i++) {
        struct berth_address address = network(numbers[i]);
        check(client_table_add(&table, &address), "a client");
    }
    check(client_table_counts(&table).clients == count, "the clients");
    for (unsigned long i = 0; i < count; i++) {
        struct berth_address address = network(numbers[i]);
        client_table_remove(&table, &address, 0);
    }
    client_table_fini(&table);
    free(numbers);
}

/* -- a header -------------------------------------------------------------- */

static void header(unsigned long count) {
    static uint8_t bytes[PROXY_HEADER_BYTES_MAX] = "\r\n\r\n\0\r\nQUIT\n\x21\x11";
    struct proxy_header read;
    uint32_t size = 16 + 12;
    for (unsigned long i = 0; i < count; i++) { /* of no bytes each, and a type that is free */
        bytes[size] = 0xe0;
        size += 3;
    }
    bytes[14] = (uint8_t)((size - 16) >> 8);
    bytes[15] = (uint8_t)(size - 16);
    check(proxy_header_read(bytes, size, &read) == PROXY_HEADER_WHOLE, "a header");
}

/* -- a mailbox ------------------------------------------------------------- */

static void move_all(const char *folder, const struct mailbox *mailbox) {
    char from[1024];
    char to[1024];
    for (uint32_t i = 0; i < mailbox->count; i++) {
        const char *name = mailbox->messages[i].name;
        snprintf(from, sizeof(from), "%s/new/%s", folder, name);
        snprintf(to, sizeof(to), "%s/cur/%s:2,S", folder, name);
        check(rename(from, to) == 0, "moving");
    }
}

static void mailbox(const char *folder) {
    char words[MAILBOX_WORDS_MAX];
    struct mailbox *mailbox;
    check(mailbox_open(folder, &mailbox, words) == MAILBOX_OPEN, "a mailbox");
    move_all(folder, mailbox);
    for (uint32_t i = 1; i <= mailbox->count; i++) {
        FILE *file = mailbox_read(mailbox, mailbox_message(mailbox, i));
        check(file != NULL, "a message that was moved");
        fclose(file);
        mailbox_unmark_all(mailbox); /* as a client may, after each of them */
        mailbox_mark(mailbox, mailbox_message(mailbox, i));
    }
    mailbox_unmark_all(mailbox);
    for (uint32_t i = 1; i <= mailbox->count; i++) {
        mailbox_mark(mailbox, mailbox_message(mailbox, i));
    }
    check(mailbox_octets(mailbox) == 0 && mailbox_update(mailbox) == 0, "removing");
    mailbox_close(mailbox);
}

int main(int count, char **words) {
    static const struct {
        const char *name;
        void (*run)(unsigned long count);
    } parts[] = {
        {"names", print_names}, {"chat", chat},     {"networks", print_networks},
        {"clients", clients},   {"header", header},
    };
    check(count == 3 || (count == 4 && freopen(words[3], "r", stdin)), "two words, or three");
    if (strcmp(words[1], "mailbox") == 0) {
        mailbox(words[2]);
        return EXIT_SUCCESS;
    }
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (strcmp(words[1], parts[i].name) == 0) {
            parts[i].run(strtoul(words[2], NULL, 10));
            return EXIT_SUCCESS;
        }
    }
    check(0, "no such part");
    return EXIT_FAILURE;
}
