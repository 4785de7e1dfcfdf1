#include "index.h"

#include <stdlib.h>
#include <string.h>

#include "common/sort.h"
#include "files.h"
#include "mailbox.h"

enum { NAMES_BYTES_FIRST = 4096 };

/* -- filling --------------------------------------------------------------- */

struct listing {
    struct index *index;
    bool in_new;
};

/* Room for one more item of that size. */
static bool index_grow(void **items, size_t *room, size_t needed, size_t size, size_t first) {
    size_t larger = *room;
    while (larger < needed) {
        larger = larger > 0 ? larger * 2 : first;
    }
    if (larger > *room) {
        void *moved = realloc(*items, larger * size);
        if (!moved) {
            return false;
        }
        *items = moved;
        *room = larger;
    }
    return true;
}

static bool index_list_one(void *argument, const char *name) {
    struct listing *listing = argument;
    struct index *index = listing->index;
    size_t size = strlen(name) + 1;
    void *entries = index->entries;
    void *names = index->names;
    if (name[0] == '.') {
        return true;
    }
    if (index->count == MAILBOX_MESSAGES_MAX) {
        return false;
    }
    bool room =
        index_grow(&entries, &index->room, index->count + 1, sizeof(*index->entries), 64) &&
        index_grow(&names, &index->names_room, index->names_size + size, 1, NAMES_BYTES_FIRST);
    index->entries = entries;
    index->names = names;
    if (!room) {
        index->no_memory = true;
        return false;
    }
    index->entries[index->count++] =
        (struct index_entry){index->names_size, mailbox_unique_size(name), listing->in_new};
    memcpy(index->names + index->names_size, name, size);
    index->names_size += size;
    return true;
}

void index_list(struct index *index, const struct files_folder *folder, bool in_new) {
    struct listing listing = {index, in_new};
    files_list(folder, index_list_one, &listing);
}

static int compare_unique(const char *one, uint32_t one_size, const char *other,
                          uint32_t other_size) {
    int order = memcmp(one, other, one_size < other_size ? one_size : other_size);
    if (order != 0 || one_size == other_size) {
        return order;
    }
    return one_size < other_size ? -1 : 1;
}

static int index_in_order(const void *left, const void *right, const void *context) {
    const struct index_entry *one = left;
    const struct index_entry *other = right;
    const struct index *index = context;
    return compare_unique(index_name(index, one), one->unique_size, index_name(index, other),
                          other->unique_size);
}

bool index_finish(struct index *index) {
    if (!index->no_memory &&
        sort_items(index->entries, index->count, sizeof(*index->entries), index_in_order, index)) {
        return true;
    }
    index_fini(index);
    return false;
}

/* -- looking --------------------------------------------------------------- */

const char *index_name(const struct index *index, const struct index_entry *entry) {
    return index->names + entry->name_at;
}

const struct index_entry *index_find(const struct index *index, const char *unique,
                                     uint32_t unique_size) {
    size_t begin = 0;
    size_t end = index->count;
    while (begin < end) { /* the first that is not less */
        size_t middle = begin + (end - begin) / 2;
        const struct index_entry *entry = &index->entries[middle];
        if (compare_unique(index_name(index, entry), entry->unique_size, unique, unique_size) < 0) {
            begin = middle + 1;
        } else {
            end = middle;
        }
    }
    const struct index_entry *found = begin < index->count ? &index->entries[begin] : NULL;
    bool is_it = found && compare_unique(index_name(index, found), found->unique_size, unique,
                                         unique_size) == 0;
    return is_it ? found : NULL;
}

void index_fini(struct index *index) {
    free(index->entries);
    free(index->names);
    *index = (struct index){0};
}
