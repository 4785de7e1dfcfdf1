/* index.h: the messages in the folders of a mailbox at one moment, by the unique parts of their
 * names; finds messages that other programs have moved. One listing finds them all. One thread at a
 * time.
 */
#ifndef BERTH_PLUGINS_POP3_INDEX_H
#define BERTH_PLUGINS_POP3_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct files_folder;

struct index_entry {
    size_t name_at;
    uint32_t unique_size;
    bool in_new;
};

/* All zero: nothing is in it. */
struct index {
    struct index_entry *entries; /* by unique part; of one twice, first that of new/ */
    size_t count;
    size_t room;
    char *names;
    size_t names_size;
    size_t names_room;
    bool no_memory;
};

/* Adds what is in the folder now. */
void index_list(struct index *index, const struct files_folder *folder, bool in_new);

/* Called after the last index_list(). False: there was no memory; the index is empty then. */
bool index_finish(struct index *index);

/* NULL: there is no such message. */
const struct index_entry *index_find(const struct index *index, const char *unique,
                                     uint32_t unique_size);
const char *index_name(const struct index *index, const struct index_entry *entry);

void index_fini(struct index *index); /* all zero again */

#endif
