#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kv/expiry.h"
#include "kv/kv.h"

/* -- keys and values ------------------------------------------------------- */

/* The argument as a value of its own. False: the failure is answered. */
static bool take_value(struct session *session, uint32_t index, struct value *value) {
    const struct argument *argument = &session->resp.arguments[index];
    int32_t status = value_create(&session->kv->store, argument->size, value);
    if (status != BERTH_OK) {
        answer_status(session, status);
        return false;
    }
    memcpy(value->bytes, argument->bytes, argument->size);
    value->size = argument->size;
    return true;
}

/* Sets the key's value, locked; *value is then the previous one, if any, to be freed. */
static struct entry *put(struct session *session, const struct key *key, struct entry *entry,
                         struct value *value, int32_t *status) {
    *status = BERTH_OK;
    if (!entry) {
        entry = store_add(&session->kv->store, key, value, status);
        if (entry) {
            memset(value, 0, sizeof(*value));
        }
        return entry;
    }
    struct value before = entry->value;
    entry->value = *value;
    *value = before;
    return entry;
}

void command_get(struct session *session) {
    struct store *store = &session->kv->store;
    struct key key = argument_key(session, 1);
    store_lock(store, 1u << key.shard);
    struct entry *entry = store_find(store, &key, session->now_ms);
    if (entry) {
        output_value(session->output, store->host, &entry->value);
    } else {
        output_null(session->output);
    }
    store_unlock(store, 1u << key.shard);
}

void command_strlen(struct session *session) {
    struct store *store = &session->kv->store;
    struct key key = argument_key(session, 1);
    store_lock(store, 1u << key.shard);
    struct entry *entry = store_find(store, &key, session->now_ms);
    int64_t size = entry ? entry->value.size : 0;
    store_unlock(store, 1u << key.shard);
    output_integer(session->output, size);
}

/* -- SET ------------------------------------------------------------------- */

struct set_options {
    uint64_t expires_ms; /* 0: never */
    bool only_new;       /* NX */
    bool only_there;     /* XX */
    bool returns;        /* GET */
    bool keeps;          /* KEEPTTL */
};

/* EX and PX: the argument after the word. */
static bool read_expiry(struct session *session, uint32_t index, bool is_seconds,
                        struct set_options *options) {
    int64_t number;
    if (options->expires_ms != 0 || options->keeps || index >= session->resp.count) {
        answer_syntax(session);
        return false;
    }
    if (!argument_integer(session, index, &number)) {
        return false;
    }
    if (number <= 0 || !expiry_at(session->now_ms, number, is_seconds, &options->expires_ms)) {
        output_error(session->output, "ERR invalid expire time in 'set' command");
        return false;
    }
    return true;
}

static bool read_set_options(struct session *session, struct set_options *options) {
    for (uint32_t i = 3; i < session->resp.count; i++) {
        bool is_seconds = argument_is(session, i, "EX");
        if (is_seconds || argument_is(session, i, "PX")) {
            if (!read_expiry(session, ++i, is_seconds, options)) {
                return false;
            }
        } else if (argument_is(session, i, "NX") && !options->only_there) {
            options->only_new = true;
        } else if (argument_is(session, i, "XX") && !options->only_new) {
            options->only_there = true;
        } else if (argument_is(session, i, "GET")) {
            options->returns = true;
        } else if (argument_is(session, i, "KEEPTTL") && options->expires_ms == 0) {
            options->keeps = true;
        } else {
            answer_syntax(session);
            return false;
        }
    }
    return true;
}

static void set_answer_before(struct session *session, const struct entry *entry) {
    if (entry) {
        output_value(session->output, session->kv->store.host, &entry->value);
    } else {
        output_null(session->output);
    }
}

/* Locked. */
static void set_run(struct session *session, const struct set_options *options,
                    const struct key *key, struct value *value) {
    struct store *store = &session->kv->store;
    struct entry *entry = store_find(store, key, session->now_ms);
    int32_t status;
    if (options->only_new ? entry != NULL : options->only_there && !entry) {
        set_answer_before(session, options->returns ? entry : NULL);
        return;
    }
    if (options->returns && entry) {
        set_answer_before(session, entry);
    }
    bool is_new = entry == NULL;
    entry = put(session, key, entry, value, &status);
    if (!entry) {
        answer_status(session, status);
        return;
    }
    if (!options->keeps) {
        store_expire(store, key->shard, entry, options->expires_ms);
    }
    if (!options->returns) {
        output_text(session->output, "+OK\r\n");
    } else if (is_new) {
        output_null(session->output);
    }
}

static void set_with(struct session *session, const struct set_options *options) {
    struct store *store = &session->kv->store;
    struct key key = argument_key(session, 1);
    struct value value;
    if (!take_value(session, 2, &value)) {
        return;
    }
    store_lock(store, 1u << key.shard);
    set_run(session, options, &key, &value);
    store_unlock(store, 1u << key.shard);
    value_free(store, &value);
}

void command_set(struct session *session) {
    struct set_options options = {0};
    if (read_set_options(session, &options)) {
        set_with(session, &options);
    }
}

void command_getset(struct session *session) {
    const struct set_options options = {.returns = true};
    set_with(session, &options);
}

/* -- several keys: all at one moment --------------------------------------- */

static uint32_t shards_of(const struct session *session, uint32_t step) {
    uint32_t shards = 0;
    for (uint32_t i = 1; i < session->resp.count; i += step) {
        shards |= 1u << argument_key(session, i).shard;
    }
    return shards;
}

static bool fits_answer(struct session *session) {
    struct store *store = &session->kv->store;
    uint64_t size = 0;
    for (uint32_t i = 1; i < session->resp.count; i++) {
        struct key key = argument_key(session, i);
        struct entry *entry = store_find(store, &key, session->now_ms);
        size += entry ? entry->value.size : 0;
    }
    return size <= session->kv->answer_bytes;
}

void command_mget(struct session *session) {
    struct store *store = &session->kv->store;
    uint32_t shards = shards_of(session, 1);
    store_lock(store, shards);
    if (!fits_answer(session)) {
        store_unlock(store, shards);
        output_error(session->output, "ERR the answer has more than %u bytes",
                     (unsigned)session->kv->answer_bytes);
        return;
    }
    output_array(session->output, session->resp.count - 1);
    for (uint32_t i = 1; i < session->resp.count; i++) {
        struct key key = argument_key(session, i);
        set_answer_before(session, store_find(store, &key, session->now_ms));
    }
    store_unlock(store, shards);
}

/* Locked. A key that is new gets an empty value, so that what follows cannot fail. */
static int32_t mset_prepare(struct session *session, uint32_t index) {
    struct store *store = &session->kv->store;
    struct key key = argument_key(session, index);
    const struct value empty = {0};
    int32_t status = BERTH_OK;
    if (store_find(store, &key, session->now_ms)) {
        return BERTH_OK;
    }
    struct entry *entry = store_add(store, &key, &empty, &status);
    return entry ? BERTH_OK : status;
}

/* Locked. What mset_prepare() has added before one failed. */
static void mset_undo(struct session *session, uint32_t end) {
    struct store *store = &session->kv->store;
    for (uint32_t i = 1; i < end; i += 2) {
        struct key key = argument_key(session, i);
        struct entry *entry = store_find(store, &key, session->now_ms);
        if (entry && !entry->value.bytes) {
            store_remove(store, key.shard, entry);
        }
    }
}

/* All of them or none. `values` become what the keys had before. */
static int32_t mset_run(struct session *session, struct value *values) {
    struct store *store = &session->kv->store;
    for (uint32_t i = 1; i < session->resp.count; i += 2) {
        int32_t status = mset_prepare(session, i);
        if (status != BERTH_OK) {
            mset_undo(session, i);
            return status;
        }
    }
    for (uint32_t i = 1; i < session->resp.count; i += 2) {
        struct key key = argument_key(session, i);
        struct entry *entry = store_find(store, &key, session->now_ms);
        struct value before = entry->value;
        entry->value = values[i / 2];
        values[i / 2] = before;
        store_expire(store, key.shard, entry, 0);
    }
    return BERTH_OK;
}

void command_mset(struct session *session) {
    struct store *store = &session->kv->store;
    uint32_t count = (session->resp.count - 1) / 2;
    uint32_t taken = 0;
    if (session->resp.count % 2 == 0) {
        output_error(session->output, "ERR wrong number of arguments for 'mset' command");
        return;
    }
    struct value *values = calloc(count, sizeof(*values));
    if (!values) {
        answer_status(session, BERTH_E_NO_MEMORY);
        return;
    }
    while (taken < count && take_value(session, 2 + taken * 2, &values[taken])) {
        taken++;
    }
    if (taken == count) {
        uint32_t shards = shards_of(session, 2);
        store_lock(store, shards);
        int32_t status = mset_run(session, values);
        store_unlock(store, shards);
        if (status == BERTH_OK) {
            output_text(session->output, "+OK\r\n");
        } else {
            answer_status(session, status);
        }
    }
    for (uint32_t i = 0; i < taken; i++) {
        value_free(store, &values[i]);
    }
    free(values);
}

/* -- APPEND ---------------------------------------------------------------- */

/* Locked. Room for `size` bytes, of which the first are those that were there. Bytes that are being
 * sent do not change: bytes are only added after them. */
static int32_t grow(struct store *store, struct value *value, uint32_t size, uint32_t size_max) {
    struct value grown;
    if (size <= value->capacity) {
        return BERTH_OK;
    }
    uint32_t twice = size > size_max / 2 ? size_max : size * 2;
    int32_t status = value_create(store, twice, &grown);
    if (status != BERTH_OK) {
        status = value_create(store, size, &grown);
    }
    if (status == BERTH_OK) {
        memcpy(grown.bytes, value->bytes, value->size);
        grown.size = value->size;
        value_free(store, value);
        *value = grown;
    }
    return status;
}

/* Locked. */
static void append_to(struct session *session, struct entry *entry) {
    const struct argument *argument = &session->resp.arguments[2];
    uint32_t size_max = session->kv->limits.argument_bytes;
    if (argument->size > size_max || entry->value.size > size_max - argument->size) {
        output_error(session->output,
                     "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
        return;
    }
    int32_t status =
        grow(&session->kv->store, &entry->value, entry->value.size + argument->size, size_max);
    if (status != BERTH_OK) {
        answer_status(session, status);
        return;
    }
    memcpy(entry->value.bytes + entry->value.size, argument->bytes, argument->size);
    entry->value.size += argument->size;
    output_integer(session->output, entry->value.size);
}

void command_append(struct session *session) {
    struct store *store = &session->kv->store;
    struct key key = argument_key(session, 1);
    struct value value;
    int32_t status;
    store_lock(store, 1u << key.shard);
    struct entry *entry = store_find(store, &key, session->now_ms);
    if (entry) {
        append_to(session, entry);
    } else if (take_value(session, 2, &value)) {
        if (put(session, &key, NULL, &value, &status)) {
            output_integer(session->output, session->resp.arguments[2].size);
        } else {
            answer_status(session, status);
            value_free(store, &value);
        }
    }
    store_unlock(store, 1u << key.shard);
}

/* -- numbers --------------------------------------------------------------- */

/* Locked. */
static int32_t put_number(struct session *session, const struct key *key, struct entry *entry,
                          int64_t number) {
    struct store *store = &session->kv->store;
    struct value value;
    char text[24];
    int length = snprintf(text, sizeof(text), "%" PRId64, number);
    if (entry && !entry->value.buffer) { /* there is room for any number */
        memcpy(entry->value.bytes, text, (size_t)length);
        entry->value.size = (uint32_t)length;
        return BERTH_OK;
    }
    int32_t status = value_create(store, (uint32_t)length, &value);
    if (status == BERTH_OK) {
        memcpy(value.bytes, text, (size_t)length);
        value.size = (uint32_t)length;
        put(session, key, entry, &value, &status);
        value_free(store, &value);
    }
    return status;
}

static void count_by(struct session *session, int64_t step) {
    struct store *store = &session->kv->store;
    struct key key = argument_key(session, 1);
    int64_t number = 0;
    store_lock(store, 1u << key.shard);
    struct entry *entry = store_find(store, &key, session->now_ms);
    if (entry && !resp_read_integer(entry->value.bytes, entry->value.size, &number)) {
        output_error(session->output, "ERR value is not an integer or out of range");
    } else if (step > 0 ? number > INT64_MAX - step : number < INT64_MIN - step) {
        output_error(session->output, "ERR increment or decrement would overflow");
    } else {
        int32_t status = put_number(session, &key, entry, number + step);
        if (status == BERTH_OK) {
            output_integer(session->output, number + step);
        } else {
            answer_status(session, status);
        }
    }
    store_unlock(store, 1u << key.shard);
}

void command_incr(struct session *session) {
    count_by(session, 1);
}

void command_decr(struct session *session) {
    count_by(session, -1);
}

void command_incrby(struct session *session) {
    int64_t step;
    if (argument_integer(session, 2, &step)) {
        count_by(session, step);
    }
}

void command_decrby(struct session *session) {
    int64_t step;
    if (!argument_integer(session, 2, &step)) {
        return;
    }
    if (step == INT64_MIN) {
        output_error(session->output, "ERR decrement would overflow");
        return;
    }
    count_by(session, -step);
}
