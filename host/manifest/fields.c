#include "manifest/fields.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/address.h"
#include "base/alloc.h"
#include "base/assert.h"
#include "base/error.h"

enum { WORKERS_MAX = 64, ADDRESSES_MAX = 16, NAME_MAX_BYTES = 63, POOL_DEFAULT = 16 };

#define FIELDS(array) .fields = (array), .field_count = ARRAY_COUNT(array)
#define CHOICES(array) .choices = (array), .choice_count = ARRAY_COUNT(array)
#define IN_MANIFEST(member) .offset = offsetof(struct manifest, member)
#define IN_LISTENER(member) .offset = offsetof(struct manifest_listener, member)

static const char *const log_levels[] = {"error", "warn", "info", "debug"};
static const char *const log_formats[] = {"text", "json"};
static const char *const accept_whens[] = {"connect", "data"};
static const char *const receives[] = {"zero-byte", "buffered"};

/* -- names ------------------------------------------------------------------------------------- */

#define LETTERS_DIGITS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

static const char name_rule[] = "a letter or digit, then up to 62 letters, digits and . _ -";

/* Safe in files, pipes and pointers. */
static bool is_name(const char *text) {
    size_t length = strlen(text);
    return length >= 1 && length <= NAME_MAX_BYTES && strspn(text, LETTERS_DIGITS) > 0 &&
           strspn(text, LETTERS_DIGITS "._-") == length;
}

static void read_name(struct checker *checker, struct checked value, void *target) {
    struct manifest *manifest = target;
    struct shown shown;
    if (!cJSON_IsString(value.item) || !is_name(value.item->valuestring)) {
        check_error(checker, value.node, "expected a name (%s), found %s", name_rule,
                    cJSON_IsString(value.item) ? check_shown(&shown, value)
                                               : check_kind(value.item));
        return;
    }
    alloc_free(manifest->host.name);
    manifest->host.name = check_copy(checker, value.item->valuestring);
}

static void read_plugin(struct checker *checker, struct checked value, void *target) {
    struct manifest_listener *listener = target;
    struct shown shown;
    const char *id = cJSON_IsString(value.item) ? value.item->valuestring : "";
    size_t length = strlen(id);
    if (length < 1 || length > NAME_MAX_BYTES ||
        strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789-") != length) {
        check_error(checker, value.node,
                    "expected a plugin's id (1 to 63 of a-z, 0-9 and -; no path, no suffix), found "
                    "%s",
                    cJSON_IsString(value.item) ? check_shown(&shown, value)
                                               : check_kind(value.item));
        return;
    }
    alloc_free(listener->plugin);
    listener->plugin = check_copy(checker, id);
}

/* -- host -------------------------------------------------------------------------------------- */

static void read_workers(struct checker *checker, struct checked value, void *target) {
    static const char *const words[] = {"auto"};
    struct manifest *manifest = target;
    struct shown shown;
    const cJSON *item = value.item;
    bool text = cJSON_IsString(item);
    double number = cJSON_IsNumber(item) ? item->valuedouble : 0;
    if (text && strcmp(item->valuestring, words[0]) == 0) {
        manifest->host.workers = 0;
    } else if (number == floor(number) && number >= 1 && number <= WORKERS_MAX) {
        manifest->host.workers = (unsigned)number;
    } else {
        bool near = text && manifest_nearest(item->valuestring, words, ARRAY_COUNT(words));
        check_error(checker, value.node,
                    "expected \"auto\" or a whole number from 1 to %d, found %s%s", WORKERS_MAX,
                    check_shown(&shown, value), near ? " (did you mean \"auto\"?)" : "");
    }
}

static const struct field host_limits[] = {
    {.key = "connections", .min = 1, .max = 10000000, IN_MANIFEST(host.limits.connections)},
    {.key = "posts", .min = 1, .max = 10000000, IN_MANIFEST(host.limits.posts)},
};

static const struct field host_buffers[] = {
    {.key = "bytes",
     .min = 4096,
     .max = 1048576,
     .multiple = 4096,
     IN_MANIFEST(host.buffers.bytes)},
    {.key = "retained_max", .min = 0, .max = 1000000, IN_MANIFEST(host.buffers.retained_max)},
};

static const struct field host_log[] = {
    {.key = "level", .kind = FIELD_CHOICE, CHOICES(log_levels), IN_MANIFEST(host.log.level)},
    {.key = "format", .kind = FIELD_CHOICE, CHOICES(log_formats), IN_MANIFEST(host.log.format)},
};

static const struct field host[] = {
    {.key = "name", .kind = FIELD_OTHER, .read = read_name},
    {.key = "workers", .kind = FIELD_OTHER, .read = read_workers},
    {.key = "plugins", .kind = FIELD_TEXT, IN_MANIFEST(host.plugins)},
    {.key = "drain_timeout_ms", .min = 0, .max = 3600000, IN_MANIFEST(host.drain_timeout_ms)},
    {.key = "limits", .kind = FIELD_OBJECT, FIELDS(host_limits)},
    {.key = "buffers", .kind = FIELD_OBJECT, FIELDS(host_buffers)},
    {.key = "log", .kind = FIELD_OBJECT, FIELDS(host_log)},
};

bool fields_set_defaults(struct manifest *manifest) {
    manifest->host.name = alloc_string("berth");
    manifest->host.plugins = alloc_string("plugins");
    manifest->host.drain_timeout_ms = 10000;
    manifest->host.limits.connections = 50000;
    manifest->host.limits.posts = 65536;
    manifest->host.buffers.bytes = 16384;
    manifest->host.buffers.retained_max = 1024;
    manifest->host.log.level = LOG_LEVEL_INFO;
    manifest->host.log.format = LOG_FORMAT_TEXT;
    return manifest->host.name && manifest->host.plugins;
}

/* -- listeners --------------------------------------------------------------------------------- */

/* What is no address stays without a family, so that the others keep their indexes. */
static void read_one_address(struct checker *checker, struct checked value,
                             struct berth_address *address) {
    struct error error;
    struct shown shown;
    if (!cJSON_IsString(value.item)) {
        check_error(checker, value.node,
                    "expected an address like \"127.0.0.1:5001\" or \"[::1]:5001\", found %s",
                    check_kind(value.item));
    } else if (!address_parse(address, value.item->valuestring, &error)) {
        check_error(checker, value.node,
                    "%s: %s; expected one like \"127.0.0.1:5001\" or \"[::1]:5001\"",
                    check_shown(&shown, value), error.message);
    }
}

/* The very same text twice says nothing, not even with port 0: several ports would be a riddle. */
static bool stands_before(const cJSON *array, const cJSON *item) {
    for (const cJSON *one = array->child; cJSON_IsString(item) && one != item; one = one->next) {
        if (cJSON_IsString(one) && strcmp(one->valuestring, item->valuestring) == 0) {
            return true;
        }
    }
    return false;
}

static void read_addresses(struct checker *checker, struct checked value,
                           struct manifest_listener *listener) {
    const struct place_node *node = value.node->first;
    struct berth_address *address = listener->addresses;
    for (const cJSON *item = value.item->child; item; item = item->next, node = node->next) {
        ASSERT(node);
        if (stands_before(value.item, item)) {
            check_error(checker, node, "this address is listed twice: keep one of them");
        } else {
            read_one_address(checker, (struct checked){item, node}, address);
        }
        address++;
    }
}

static void read_address(struct checker *checker, struct checked value, void *target) {
    struct manifest_listener *listener = target;
    bool array = cJSON_IsArray(value.item);
    int count = array ? cJSON_GetArraySize(value.item) : 1;
    alloc_free(listener->addresses); /* of an equal key in front */
    listener->addresses = NULL;
    listener->address_count = 0;
    if (count < 1 || count > ADDRESSES_MAX) {
        check_error(checker, value.node, "expected 1 to %d addresses, found %d", ADDRESSES_MAX,
                    count);
        return;
    }
    listener->addresses = alloc_array((size_t)count, sizeof(*listener->addresses));
    if (!listener->addresses) {
        checker->failed = true;
        return;
    }
    listener->address_count = (size_t)count;
    if (array) {
        read_addresses(checker, value, listener);
    } else {
        read_one_address(checker, value, listener->addresses);
    }
}

/* The text as it is written but for the spaces: cJSON would print 2^53 + 1 as another number. */
static char *compact(const char *text, size_t size) {
    char *compacted = alloc_zeroed(size + 1);
    size_t length = 0;
    bool quoted = false;
    for (size_t i = 0; compacted && i < size; i++) {
        if (!quoted && strchr(" \t\r\n", text[i])) {
            continue;
        }
        compacted[length++] = text[i];
        if (quoted && text[i] == '\\') {
            compacted[length++] = text[++i];
        } else if (text[i] == '"') {
            quoted = !quoted;
        }
    }
    return compacted;
}

static void read_config(struct checker *checker, struct checked value, void *target) {
    struct manifest_listener *listener = target;
    if (!cJSON_IsObject(value.item)) {
        check_error(checker, value.node, "expected an object, found %s", check_kind(value.item));
        return;
    }
    alloc_free(listener->config_json);
    listener->config_json = compact(value.node->text, value.node->size);
    checker->failed |= !listener->config_json;
}

static const struct field accept_pool[] = {
    {.key = "initial", .min = 1, .max = 10000, IN_LISTENER(accept.pool.initial)},
    {.key = "low", .min = 1, .max = 10000, IN_LISTENER(accept.pool.low)},
    {.key = "high", .min = 1, .max = 10000, IN_LISTENER(accept.pool.high)},
};

static const struct field accept[] = {
    {.key = "when", .kind = FIELD_CHOICE, CHOICES(accept_whens), IN_LISTENER(accept.when)},
    {.key = "pool", .kind = FIELD_OBJECT, FIELDS(accept_pool)},
    {.key = "backlog", .min = 1, .max = 65535, IN_LISTENER(accept.backlog)},
    {.key = "first_data_timeout_ms",
     .min = 100,
     .max = 3600000,
     IN_LISTENER(accept.first_data_timeout_ms)},
    {.key = "reuse_sockets", .kind = FIELD_BOOL, IN_LISTENER(accept.reuse_sockets)},
};

static const struct field listener_limits[] = {
    {.key = "connections", .min = 1, .max = 10000000, IN_LISTENER(limits.connections)},
    {.key = "per_client", .min = 1, .max = 10000000, IN_LISTENER(limits.per_client)},
    {.key = "message_bytes", .min = 256, .max = 16777216, IN_LISTENER(limits.message_bytes)},
    {.key = "send_queue_bytes",
     .min = 4096,
     .max = 1073741824,
     IN_LISTENER(limits.send_queue_bytes)},
};

static const struct field listener[] = {
    {.key = "address", .kind = FIELD_OTHER, .required = true, .read = read_address},
    {.key = "plugin", .kind = FIELD_OTHER, .required = true, .read = read_plugin},
    {.key = "v6_only", .kind = FIELD_BOOL, IN_LISTENER(v6_only)},
    {.key = "accept", .kind = FIELD_OBJECT, FIELDS(accept)},
    {.key = "limits", .kind = FIELD_OBJECT, FIELDS(listener_limits)},
    {.key = "close_timeout_ms", .min = 0, .max = 3600000, IN_LISTENER(close_timeout_ms)},
    {.key = "no_delay", .kind = FIELD_BOOL, IN_LISTENER(no_delay)},
    {.key = "receive", .kind = FIELD_CHOICE, CHOICES(receives), IN_LISTENER(receive)},
    {.key = "config", .kind = FIELD_OTHER, .read = read_config},
};

/* Watermarks that are not given follow those that are. */
static void fill_pool(struct manifest_listener *one) {
    uint32_t *initial = &one->accept.pool.initial;
    uint32_t *low = &one->accept.pool.low;
    uint32_t *high = &one->accept.pool.high;
    if (*high == 0) {
        *high = 128;
        *high = *high > *initial ? *high : *initial;
        *high = *high > *low ? *high : *low;
    }
    if (*initial == 0) {
        *initial = *high < POOL_DEFAULT ? *high : POOL_DEFAULT;
    }
    if (*low == 0) {
        *low = *initial < POOL_DEFAULT ? *initial : POOL_DEFAULT;
        *low = *low < *high ? *low : *high;
    }
}

static void read_listener(struct checker *checker, struct checked value,
                          struct manifest_listener *one) {
    const char *name = value.node->name;
    *one = (struct manifest_listener){
        .accept = {.backlog = 200, .first_data_timeout_ms = 5000, .reuse_sockets = true},
        .limits = {.connections = 10000, .message_bytes = 65536, .send_queue_bytes = 1048576},
        .close_timeout_ms = 5000,
        .no_delay = true,
        .receive = MANIFEST_RECEIVE_ZERO_BYTE,
    };
    one->name = check_copy(checker, name);
    one->config_json = check_copy(checker, "{}");
    one->line = value.node->key.line;
    if (!is_name(name)) {
        check_key_error(checker, value.node, "not a listener's name (%s)", name_rule);
    }
    check_object(checker, value, listener, ARRAY_COUNT(listener), one);
    fill_pool(one);
}

static void free_listeners(struct manifest *manifest) {
    for (size_t i = 0; i < manifest->listener_count; i++) {
        struct manifest_listener *one = &manifest->listeners[i];
        alloc_free(one->name);
        alloc_free(one->plugin);
        alloc_free(one->addresses);
        alloc_free(one->config_json);
    }
    alloc_free(manifest->listeners);
    manifest->listeners = NULL;
    manifest->listener_count = 0;
}

static void read_listeners(struct checker *checker, struct checked value, void *target) {
    struct manifest *manifest = target;
    free_listeners(manifest); /* of an equal key in front */
    checker->listeners = NULL;
    if (!cJSON_IsObject(value.item)) {
        check_error(checker, value.node, "expected an object, found %s", check_kind(value.item));
        return;
    }
    int count = cJSON_GetArraySize(value.item);
    if (count < 1) {
        check_error(checker, value.node, "expected at least one listener");
        return;
    }
    manifest->listeners = alloc_array((size_t)count, sizeof(*manifest->listeners));
    if (!manifest->listeners) {
        checker->failed = true;
        return;
    }
    checker->listeners = value.node;
    const struct place_node *node = value.node->first;
    for (const cJSON *item = value.item->child; item; item = item->next, node = node->next) {
        ASSERT(node);
        read_listener(checker, (struct checked){item, node},
                      &manifest->listeners[manifest->listener_count++]);
    }
}

void fields_fini(struct manifest *manifest) {
    free_listeners(manifest);
    alloc_free(manifest->host.name);
    alloc_free(manifest->host.plugins);
}

/* -- the document ------------------------------------------------------------------------------ */

static void read_version(struct checker *checker, struct checked value, void *target) {
    (void)target;
    struct shown shown;
    if (!cJSON_IsNumber(value.item) || value.item->valuedouble != 1) {
        check_error(checker, value.node,
                    "expected 1, the version of the manifest that this host reads, found %s",
                    check_shown(&shown, value));
    }
}

static void read_schema(struct checker *checker, struct checked value, void *target) {
    (void)target; /* for editors */
    if (!cJSON_IsString(value.item)) {
        check_error(checker, value.node, "expected a string, found %s", check_kind(value.item));
    }
}

const struct field fields_document[] = {
    {.key = "$schema", .kind = FIELD_OTHER, .read = read_schema},
    {.key = "manifest", .kind = FIELD_OTHER, .required = true, .read = read_version},
    {.key = "host", .kind = FIELD_OBJECT, FIELDS(host)},
    {.key = "listeners", .kind = FIELD_OTHER, .required = true, .read = read_listeners},
};
const size_t fields_document_count = ARRAY_COUNT(fields_document);
