#include "plugin/call_page.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "plugin/plugin_callback.h"

enum { MAGIC = 0x42434c53, TEXT_BYTES = 64, VERSION_BYTES = 32 };

struct call_name {
    atomic_ullong address; /* 0: free */
    uint32_t generation;
    char text[TEXT_BYTES];
    char version[VERSION_BYTES];
};

struct call_page {
    uint32_t magic;
    uint32_t bytes;         /* sizeof: of the same build */
    atomic_uint unrecorded; /* threads without a record */
    atomic_uint ended;      /* the host has ended on purpose */
    uint32_t unused[12];
    struct call_record records[CALL_RECORDS_MAX];
    struct call_name names[CALL_NAMES_MAX];
};

_Static_assert(sizeof(struct call_record) == 64, "a line of the cache");
_Static_assert(offsetof(struct call_page, records) == 64, "records begin with a line");

static struct call_page *page;       /* NULL: no supervisor */
static bool taken[CALL_RECORDS_MAX]; /* here, where no plugin can destroy it by its page */

size_t call_page_bytes(void) {
    return sizeof(struct call_page);
}

/* -- the host's side ------------------------------------------------------- */

void call_page_start(void *memory) {
    page = memory;
    memset(taken, 0, sizeof(taken));
    if (page) {
        page->bytes = sizeof(*page);
        page->magic = MAGIC;
    }
}

void call_page_end(void) {
    if (page) {
        atomic_store(&page->ended, 1);
    }
}

bool call_page_is_kept(void) {
    return page != NULL;
}

struct call_record *call_page_take(void) {
    for (size_t i = 0; page && i < CALL_RECORDS_MAX; i++) {
        if (!taken[i]) {
            taken[i] = true;
            return &page->records[i];
        }
    }
    if (page) {
        atomic_fetch_add(&page->unrecorded, 1);
    }
    return NULL;
}

void call_page_give_back(struct call_record *record) {
    if (page && !record) {
        atomic_fetch_sub(&page->unrecorded, 1);
    } else if (page && record >= page->records && record < page->records + CALL_RECORDS_MAX) {
        taken[record - page->records] = false;
    }
}

/* The entry of that address, or a free one, which is claimed. */
static struct call_name *find_or_claim(unsigned long long address) {
    for (size_t i = 0; i < CALL_NAMES_MAX; i++) {
        if (atomic_load(&page->names[i].address) == address) {
            return &page->names[i];
        }
    }
    for (size_t i = 0; i < CALL_NAMES_MAX; i++) {
        unsigned long long free = 0;
        if (atomic_compare_exchange_strong(&page->names[i].address, &free, address)) {
            return &page->names[i];
        }
    }
    return NULL;
}

void call_page_name(const void *address, unsigned generation, const char *text,
                    const char *version) {
    struct call_name *name = page ? find_or_claim((uintptr_t)address) : NULL;
    if (name) { /* without a free entry its calls are reported without a name */
        name->generation = generation;
        snprintf(name->text, sizeof(name->text), "%.63s", text);
        snprintf(name->version, sizeof(name->version), "%.31s", version);
    }
}

void call_page_forget(const void *address) {
    for (size_t i = 0; page && i < CALL_NAMES_MAX; i++) {
        unsigned long long same = (uintptr_t)address;
        if (atomic_compare_exchange_strong(&page->names[i].address, &same, 0)) {
            return;
        }
    }
}

/* -- the reader's side ----------------------------------------------------- */

void call_info_describe(const struct call_info *call, char *text, size_t size) {
    char listener[96] = "";
    char connection[48] = "";
    if (call->listener[0] != '\0') {
        snprintf(listener, sizeof(listener), ", listener \"%s\"", call->listener);
    }
    if (call->connection != 0) {
        snprintf(connection, sizeof(connection), ", connection %llu",
                 (unsigned long long)call->connection);
    }
    snprintf(text, size, "callback %s of plugin \"%s\", generation %u (%s)%s%s%s", call->callback,
             call->plugin[0] != '\0' ? call->plugin : "?", call->generation, call->version,
             listener, connection, call->waits ? ", which waited" : "");
}

static const struct call_name *call_page_find(const struct call_page *copy,
                                              unsigned long long address) {
    for (size_t i = 0; address != 0 && i < CALL_NAMES_MAX; i++) {
        if (atomic_load_explicit(&copy->names[i].address, memory_order_relaxed) == address) {
            return &copy->names[i];
        }
    }
    return NULL;
}

/* Terminates the text and makes it safe for display. */
static void take_text(char *out, size_t room, const char *text, size_t size) {
    char terminated[TEXT_BYTES + 1];
    memcpy(terminated, text, size);
    terminated[size] = '\0';
    text_safe(out, room, terminated);
}

/* The same rule as module_id_valid(). */
static bool call_page_is_plugin_id(const char *id) {
    return id[0] != '\0' && id[strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789-")] == '\0';
}

static void take_call(const struct call_page *copy, const struct call_record *record,
                      struct call_info *call) {
    uintptr_t stats = (uintptr_t)atomic_load_explicit(&record->stats, memory_order_relaxed);
    uintptr_t of_listener =
        (uintptr_t)atomic_load_explicit(&record->listener, memory_order_relaxed);
    const struct call_name *plugin = call_page_find(copy, stats);
    const struct call_name *listener = call_page_find(copy, of_listener);
    unsigned callback = atomic_load_explicit(&record->callback, memory_order_relaxed);
    *call = (struct call_info){
        .generation = listener ? listener->generation
                      : plugin ? plugin->generation
                               : 0,
        .connection = atomic_load_explicit(&record->connection, memory_order_relaxed),
        .waits = atomic_load_explicit(&record->waits, memory_order_relaxed) ==
                 atomic_load_explicit(&record->sequence, memory_order_relaxed),
    };
    snprintf(call->callback, sizeof(call->callback), "%s",
             plugin_callback_name(callback < PLUGIN_CALLBACKS ? callback : PLUGIN_CALLBACKS));
    if (plugin) {
        take_text(call->plugin, sizeof(call->plugin), plugin->text, sizeof(plugin->text));
        take_text(call->version, sizeof(call->version), plugin->version, sizeof(plugin->version));
    }
    if (listener) {
        take_text(call->listener, sizeof(call->listener), listener->text, sizeof(listener->text));
    }
    if (!call_page_is_plugin_id(call->plugin)) {
        call->plugin[0] = '\0';
    }
}

/* The one plugin of a number of calls: `*several` once there is another one, or one unknown. */
static void add_plugin(char *one, size_t size, bool *several, const char *plugin) {
    *several = *several || plugin[0] == '\0' || (one[0] != '\0' && strcmp(one, plugin) != 0);
    snprintf(one, size, "%s", *several ? "" : plugin);
}

/* If there is no room for all calls, those that ran come first: they tell more. */
static void add_call(struct calls_seen *seen, const struct call_info *call) {
    size_t at = seen->count;
    for (size_t i = 0; at == CALLS_REPORTED_MAX && !call->waits && i < CALLS_REPORTED_MAX; i++) {
        at = seen->calls[i].waits ? i : at;
    }
    if (at < CALLS_REPORTED_MAX) {
        seen->calls[at] = *call;
        seen->count += at == seen->count;
    }
    seen->total++;
}

void call_page_read(const void *memory, struct calls_seen *seen) {
    const struct call_page *copy = memory;
    bool several = false;
    bool several_running = false;
    *seen = (struct calls_seen){0};
    if (copy->magic != MAGIC || copy->bytes != sizeof(*copy)) {
        return;
    }
    seen->readable = true;
    if (atomic_load_explicit(&copy->ended, memory_order_relaxed) != 0) {
        return;
    }
    if (atomic_load_explicit(&copy->unrecorded, memory_order_relaxed) != 0) {
        several = several_running = true; /* one of those may be in a call, too */
    }
    for (size_t i = 0; i < CALL_RECORDS_MAX; i++) {
        struct call_info call;
        if ((atomic_load_explicit(&copy->records[i].sequence, memory_order_relaxed) & 1) == 0) {
            continue;
        }
        take_call(copy, &copy->records[i], &call);
        add_plugin(seen->all, sizeof(seen->all), &several, call.plugin);
        if (!call.waits) {
            seen->any_running = true;
            add_plugin(seen->running, sizeof(seen->running), &several_running, call.plugin);
        }
        add_call(seen, &call);
    }
}
