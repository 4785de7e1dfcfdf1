#include <stdlib.h>
#include <string.h>

#include "kv/expiry.h"
#include "kv/kv.h"
#include "kv/pattern.h"

/* -- one key or several ---------------------------------------------------- */

/* How many of the keys there are; they are removed, or left. All at one moment. */
static void count_keys(struct session *session, bool removes) {
    struct store *store = &session->kv->store;
    uint32_t shards = 0;
    int64_t count = 0;
    for (uint32_t i = 1; i < session->resp.count; i++) {
        shards |= 1u << argument_key(session, i).shard;
    }
    store_lock(store, shards);
    for (uint32_t i = 1; i < session->resp.count; i++) {
        struct key key = argument_key(session, i);
        struct entry *entry = store_find(store, &key, session->now_ms);
        count += entry ? 1 : 0;
        if (entry && removes) {
            store_remove(store, key.shard, entry);
        }
    }
    store_unlock(store, shards);
    output_integer(session->output, count);
}

void command_del(struct session *session) {
    count_keys(session, true);
}

void command_exists(struct session *session) {
    count_keys(session, false);
}

void command_type(struct session *session) {
    struct store *store = &session->kv->store;
    struct key key = argument_key(session, 1);
    store_lock(store, 1u << key.shard);
    bool is_there = store_find(store, &key, session->now_ms) != NULL;
    store_unlock(store, 1u << key.shard);
    output_text(session->output, is_there ? "+string\r\n" : "+none\r\n");
}

/* -- expiry ---------------------------------------------------------------- */

static void expire_in(struct session *session, const char *name, bool is_seconds) {
    struct store *store = &session->kv->store;
    struct key key = argument_key(session, 1);
    uint64_t at_ms = 0;
    int64_t number;
    if (!argument_integer(session, 2, &number)) {
        return;
    }
    if (!expiry_at(session->now_ms, number, is_seconds, &at_ms)) {
        output_error(session->output, "ERR invalid expire time in '%s' command", name);
        return;
    }
    store_lock(store, 1u << key.shard);
    struct entry *entry = store_find(store, &key, session->now_ms);
    if (entry && number <= 0) {
        store_remove(store, key.shard, entry);
    } else if (entry) {
        store_expire(store, key.shard, entry, at_ms);
    }
    store_unlock(store, 1u << key.shard);
    output_integer(session->output, entry ? 1 : 0);
}

void command_expire(struct session *session) {
    expire_in(session, "expire", true);
}

void command_pexpire(struct session *session) {
    expire_in(session, "pexpire", false);
}

/* -2: no such key; -1: it never expires. */
static int64_t time_left(struct session *session) {
    struct store *store = &session->kv->store;
    struct key key = argument_key(session, 1);
    int64_t left_ms = -2;
    store_lock(store, 1u << key.shard);
    struct entry *entry = store_find(store, &key, session->now_ms);
    if (entry) {
        left_ms = entry->expires_ms != 0 ? (int64_t)(entry->expires_ms - session->now_ms) : -1;
    }
    store_unlock(store, 1u << key.shard);
    return left_ms;
}

void command_ttl(struct session *session) {
    int64_t left_ms = time_left(session);
    int64_t rounded = left_ms / 1000 + (left_ms % 1000 >= 500 ? 1 : 0);
    output_integer(session->output, left_ms < 0 ? left_ms : rounded);
}

void command_pttl(struct session *session) {
    output_integer(session->output, time_left(session));
}

void command_persist(struct session *session) {
    struct store *store = &session->kv->store;
    struct key key = argument_key(session, 1);
    store_lock(store, 1u << key.shard);
    struct entry *entry = store_find(store, &key, session->now_ms);
    bool expired = entry && entry->expires_ms != 0;
    if (expired) {
        store_expire(store, key.shard, entry, 0);
    }
    store_unlock(store, 1u << key.shard);
    output_integer(session->output, expired ? 1 : 0);
}

/* -- all keys -------------------------------------------------------------- */

void command_dbsize(struct session *session) {
    output_integer(session->output, (int64_t)store_count(&session->kv->store));
}

void command_flush(struct session *session) {
    uint32_t count = session->resp.count;
    if (count > 2 ||
        (count == 2 && !argument_is(session, 1, "SYNC") && !argument_is(session, 1, "ASYNC"))) {
        answer_syntax(session);
        return;
    }
    store_flush(&session->kv->store);
    output_text(session->output, "+OK\r\n");
}

/* The keys of a shard that fit, as bulks after the existing ones. */
static size_t list_shard(struct session *session, uint32_t shard, struct output *keys) {
    const struct argument *pattern = &session->resp.arguments[1];
    struct store *store = &session->kv->store;
    struct entry *entry;
    struct entry *next;
    size_t count = 0;
    store_lock(store, 1u << shard);
    HASH_ITER(hh, store->shards[shard].entries, entry, next) {
        bool is_there = entry->expires_ms == 0 || entry->expires_ms > session->now_ms;
        if (is_there && keys->size <= session->kv->answer_bytes &&
            pattern_matches(pattern->bytes, pattern->size, entry->key, entry->key_size)) {
            output_bulk(keys, entry->key, entry->key_size);
            count++;
        }
    }
    store_unlock(store, 1u << shard);
    return count;
}

/* One shard after the other: other commands wait for one shard at most. */
void command_keys(struct session *session) {
    struct output keys = {0};
    size_t count = 0;
    for (uint32_t i = 0; i < SHARDS; i++) {
        count += list_shard(session, i, &keys);
    }
    if (keys.has_failed) {
        answer_status(session, BERTH_E_NO_MEMORY);
    } else if (keys.size > session->kv->answer_bytes) {
        output_error(session->output, "ERR the answer has more than %u bytes",
                     (unsigned)session->kv->answer_bytes);
    } else {
        output_array(session->output, count);
        output_bytes(session->output, keys.bytes, keys.size);
    }
    output_fini(&keys);
}
