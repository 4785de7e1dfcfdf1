#include "manifest/places.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "manifest/manifest.h"
#include "manifest/reader.h"

#define uthash_malloc(size) alloc_zeroed(size)
#define uthash_free(memory, size) alloc_free(memory)
#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(entry) ((entry)->refused = true)
#include <uthash.h>

struct places_entry {
    struct place_node node;
    bool refused; /* uthash had no memory for it */
    UT_hash_handle hh;
    const struct place_node *object; /* with the name behind it, the key in the hash */
    char name[];
};

struct walk {
    struct reader reader;
    struct places *places;
    struct place_node *inside; /* the innermost value that is being read */
    size_t depth;
    places_report *report;
    void *context;
};

static bool no_memory(struct walk *walk) {
    walk->places->failed = true;
    return false;
}

/* -- nodes ------------------------------------------------------------------------------------ */

/* A node inside the present one. `key` is the key in the text with its quotes, or NULL. */
static struct places_entry *add_node(struct walk *walk, const char *key, size_t key_size) {
    struct place_node *parent = walk->inside;
    struct places_entry *entry = alloc_zeroed(sizeof(*entry) + key_size + 1);
    if (!entry) {
        no_memory(walk);
        return NULL;
    }
    entry->object = parent;
    entry->node.parent = parent;
    if (key) {
        reader_decode(key, key_size, entry->name);
        entry->node.name = entry->name;
    }
    if (!parent) {
        walk->places->document = &entry->node;
    } else if (!parent->first) {
        parent->first = &entry->node;
        parent->last = &entry->node;
    } else {
        entry->node.index = parent->last->index + 1;
        parent->last->next = &entry->node;
        parent->last = &entry->node;
    }
    walk->inside = &entry->node;
    return entry;
}

/* Enters a member into the hash, or reports that its key was there before. */
static bool add_member(struct walk *walk, struct places_entry *entry) {
    const char *key = (const char *)entry + offsetof(struct places_entry, object);
    size_t key_size = sizeof(entry->object) + strlen(entry->name);
    struct places_entry *before = NULL;
    HASH_FIND(hh, walk->places->members, key, key_size, before);
    if (before) {
        char message[128];
        snprintf(message, sizeof(message),
                 "this key is here a second time (the first is at %zu:%zu): keep one of them",
                 before->node.key.line, before->node.key.column);
        entry->node.again = true;
        return walk->report(walk->context, entry->node.key, &entry->node, message) ||
               no_memory(walk);
    }
    HASH_ADD_KEYPTR(hh, walk->places->members, key, key_size, entry);
    return !entry->refused || no_memory(walk);
}

static void free_node(struct place_node *node) {
    while (node) {
        struct place_node *next = node->next;
        free_node(node->first); /* no deeper than the text may be */
        alloc_free(CONTAINER_OF(node, struct places_entry, node));
        node = next;
    }
}

/* -- values ----------------------------------------------------------------------------------- */

static bool read_value(struct walk *walk);

static bool read_member(struct walk *walk) {
    struct reader *reader = &walk->reader;
    const char *key = (const char *)reader->at;
    struct place place = reader->here;
    if (reader_peek(reader) != '"') {
        return reader_unexpected(reader, "a key in double quotes");
    }
    if (!reader_string(reader)) {
        return false;
    }
    struct places_entry *entry = add_node(walk, key, (size_t)((const char *)reader->at - key));
    if (!entry) {
        return false;
    }
    entry->node.key = place;
    entry->node.value = place;
    reader_skip_space(reader);
    if (reader_peek(reader) != ':') {
        return reader_unexpected(reader, "':' behind the key");
    }
    reader_step(reader, 1);
    reader_skip_space(reader);
    return add_member(walk, entry) && read_value(walk);
}

static bool read_item(struct walk *walk) {
    struct places_entry *entry = add_node(walk, NULL, 0);
    if (!entry) {
        return false;
    }
    entry->node.key = walk->reader.here;
    return read_value(walk);
}

/* What objects and arrays have in common: items between commas, up to the closing character. */
static bool read_items(struct walk *walk, char close, bool (*read_one)(struct walk *walk)) {
    struct reader *reader = &walk->reader;
    struct place_node *node = walk->inside;
    if (++walk->depth > MANIFEST_DEPTH_MAX) {
        return reader_fail(reader, reader->here, "nested deeper than %d levels",
                           MANIFEST_DEPTH_MAX);
    }
    reader_step(reader, 1);
    reader_skip_space(reader);
    while (reader_peek(reader) != close) {
        if (!read_one(walk)) {
            return false;
        }
        walk->inside = node;
        reader_skip_space(reader);
        if (reader_peek(reader) == ',') {
            struct place comma = reader->here;
            reader_step(reader, 1);
            reader_skip_space(reader);
            if (reader_peek(reader) == close) {
                return reader_fail(reader, comma, "a comma behind the last item");
            }
        } else if (reader_peek(reader) != close) {
            return reader_unexpected(reader, close == '}' ? "',' or '}'" : "',' or ']'");
        }
    }
    reader_step(reader, 1);
    walk->depth--;
    return true;
}

static bool read_any(struct walk *walk) {
    struct reader *reader = &walk->reader;
    int c = reader_peek(reader);
    switch (c) {
    case '{':
        return read_items(walk, '}', read_member);
    case '[':
        return read_items(walk, ']', read_item);
    case '"':
        return reader_string(reader);
    case 't':
        return reader_literal(reader, "true");
    case 'f':
        return reader_literal(reader, "false");
    case 'n':
        return reader_literal(reader, "null");
    default:
        return c == '-' || (c >= '0' && c <= '9') ? reader_number(reader)
                                                  : reader_unexpected(reader, "a value");
    }
}

static bool read_value(struct walk *walk) {
    struct place_node *node = walk->inside;
    node->value = walk->reader.here;
    node->text = (const char *)walk->reader.at;
    if (!read_any(walk)) {
        return false;
    }
    node->size = (size_t)((const char *)walk->reader.at - node->text);
    return true;
}

static bool read_document(struct walk *walk) {
    struct reader *reader = &walk->reader;
    reader_skip_space(reader);
    if (!read_item(walk)) {
        return false;
    }
    reader_skip_space(reader);
    return reader->at == reader->end ||
           reader_unexpected(reader, "nothing more behind the document");
}

bool places_init(struct places *places, const char *text, size_t size, places_report *report,
                 void *context) {
    const unsigned char *begin = (const unsigned char *)text;
    struct walk walk = {
        .reader = {.at = begin, .end = begin + size, .here = {1, 1}},
        .places = places,
        .report = report,
        .context = context,
    };
    *places = (struct places){0};
    if (read_document(&walk)) {
        return true;
    }
    if (!places->failed && !report(context, walk.reader.wrong_at, walk.inside, walk.reader.wrong)) {
        places->failed = true;
    }
    return false;
}

void places_fini(struct places *places) {
    HASH_CLEAR(hh, places->members);
    free_node(places->document);
    *places = (struct places){0};
}

/* -- pointers --------------------------------------------------------------------------------- */

const struct place_node *places_member(const struct place_node *object, const char *name) {
    const struct place_node *found = NULL;
    for (const struct place_node *node = object ? object->first : NULL; node; node = node->next) {
        if (node->name && strcmp(node->name, name) == 0) {
            found = node;
        }
    }
    return found;
}

/* Whether the node is the one that the pointer's next token, which ends at a '/', names. */
static bool is_named(const struct place_node *node, const char *token) {
    char index[24];
    const char *name = node->name;
    if (!name) {
        snprintf(index, sizeof(index), "%zu", node->index);
        name = index;
    }
    for (; *name; name++, token++) {
        bool escaped = *name == '~' || *name == '/';
        if (escaped && *token++ != '~') {
            return false;
        }
        if (*token != (escaped ? (*name == '~' ? '0' : '1') : *name)) {
            return false;
        }
    }
    return *token == '/' || *token == '\0';
}

const struct place_node *places_find(const struct places *places, const char *pointer) {
    const struct place_node *found = places->document;
    while (found && *pointer == '/') {
        const struct place_node *node = found->first;
        while (node && !is_named(node, pointer + 1)) {
            node = node->next;
        }
        if (!node) {
            break;
        }
        found = node;
        pointer += 1 + strcspn(pointer + 1, "/");
    }
    return found;
}

/* Appends one character, escaped. False when it does not fit with the "..." behind it. */
static bool append(char *pointer, size_t *length, const char *at, size_t size) {
    bool escaped = *at == '~' || *at == '/';
    if (*length + size + 1 > PLACES_POINTER_MAX - sizeof("...")) {
        strcpy(pointer + *length, "...");
        return false;
    }
    if (escaped) {
        pointer[(*length)++] = '~';
        pointer[(*length)++] = *at == '~' ? '0' : '1';
    } else {
        memcpy(pointer + *length, at, size);
        *length += size;
    }
    pointer[*length] = '\0';
    return true;
}

static bool append_name(char *pointer, size_t *length, const char *name) {
    while (*name) {
        size_t size = 1;
        while (((unsigned char)name[size] & 0xc0) == 0x80) {
            size++;
        }
        if (!append(pointer, length, name, size)) {
            return false;
        }
        name += size;
    }
    return true;
}

void places_pointer(const struct place_node *node, char pointer[PLACES_POINTER_MAX]) {
    const struct place_node *way[MANIFEST_DEPTH_MAX + 1];
    size_t count = 0;
    size_t length = 0;
    pointer[0] = '\0';
    for (; node && node->parent; node = node->parent) {
        ASSERT(count < ARRAY_COUNT(way));
        way[count++] = node;
    }
    while (count > 0) {
        char index[24];
        node = way[--count];
        snprintf(index, sizeof(index), "%zu", node->index);
        if (length + 1 > PLACES_POINTER_MAX - sizeof("...")) {
            strcpy(pointer + length, "...");
            return;
        }
        pointer[length++] = '/';
        pointer[length] = '\0';
        if (!append_name(pointer, &length, node->name ? node->name : index)) {
            return;
        }
    }
}
