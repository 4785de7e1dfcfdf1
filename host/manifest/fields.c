#include "manifest/fields.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/address.h"
#include "base/alloc.h"
#include "base/error.h"
#include "os/os.h"

enum {
    WORKERS_MAX = 64,
    WORK_THREADS_MAX = 1024,
    ADDRESSES_MAX = 16,
    PREFIXES_MAX = 1024,
    NAME_MAX_BYTES = 63,
    POOL_DEFAULT = 16,
    RATE_MAX = 1000000,
    PENDING_DEFAULT = 4096,    /* or, where that is more, */
    PENDING_DEFAULT_FACTOR = 8 /* so many times the pool's high water */
};

#define FIELDS(array) .fields = (array), .field_count = ARRAY_COUNT(array)
#define CHOICES(array) .choices = (array), .choice_count = ARRAY_COUNT(array)
#define IN_MANIFEST(member) .offset = offsetof(struct manifest, member)
#define IN_LISTENER(member) .offset = offsetof(struct manifest_listener, member)

static const char *const engines[] = {"auto", "io_uring", "epoll"};
static const char *const untrusted[] = {"refuse", "load"};
static const char *const log_levels[] = {"error", "warn", "info", "debug"};
static const char *const log_formats[] = {"text", "json"};
static const char *const accept_whens[] = {"connect", "data"};
static const char *const at_limits[] = {"backlog", "refuse"};
static const char *const transports[] = {"tcp", "udp"};
static const char *const lingers[] = {"finish", "reset"};
static const char *const queue_fulls[] = {"pause", "close"};
static const char *const receives[] = {"zero-byte", "buffered"};

/* -- names ---------------------------------------------------------------------------------------
 */

static const char letters_digits[] =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/* A letter or digit, then up to 62 of those and . _ - : safe in files, pipes and pointers. */
static bool is_name(const char *text) {
    size_t length = strlen(text);
    return length >= 1 && length <= NAME_MAX_BYTES && strchr(letters_digits, text[0]) != NULL &&
           strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
               length;
}

bool manifest_name_valid(const char *name) {
    return is_name(name);
}

static const char name_rule[] = "a letter or digit, then up to 62 letters, digits and . _ -";

static void read_name(struct checker *checker, struct checked value, void *target) {
    struct manifest *manifest = target;
    if (!cJSON_IsString(value.item) || !is_name(value.item->valuestring)) {
        check_error(checker, value.pointer, "expected a name (%s), found %s", name_rule,
                    cJSON_IsString(value.item) ? "something else" : check_found(value.item));
        return;
    }
    alloc_free(manifest->host.name);
    manifest->host.name = check_copy(checker, value.item->valuestring);
}

static void read_plugin(struct checker *checker, struct checked value, void *target) {
    struct manifest_listener *listener = target;
    const char *id = cJSON_IsString(value.item) ? value.item->valuestring : "";
    size_t length = strlen(id);
    if (length < 1 || length > NAME_MAX_BYTES ||
        strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789-") != length) {
        check_error(checker, value.pointer,
                    "expected a plugin's id (1 to 63 of a-z, 0-9 and -; no path, no suffix), found "
                    "%s",
                    cJSON_IsString(value.item) ? "something else" : check_found(value.item));
        return;
    }
    alloc_free(listener->plugin);
    listener->plugin = check_copy(checker, id);
}

/* -- host ----------------------------------------------------------------------------------------
 */

static void read_workers(struct checker *checker, struct checked value, void *target) {
    struct manifest *manifest = target;
    const cJSON *item = value.item;
    if (cJSON_IsString(item) && strcmp(item->valuestring, "auto") == 0) {
        manifest->host.workers = 0;
    } else if (cJSON_IsNumber(item) && item->valuedouble == floor(item->valuedouble) &&
               item->valuedouble >= 1 && item->valuedouble <= WORKERS_MAX) {
        manifest->host.workers = (unsigned)item->valuedouble;
    } else if (cJSON_IsNumber(item)) {
        check_error(checker, value.pointer,
                    "expected \"auto\" or a whole number from 1 to %d, found %.17g", WORKERS_MAX,
                    item->valuedouble);
    } else {
        check_error(checker, value.pointer,
                    "expected \"auto\" or a whole number from 1 to %d, found %s", WORKERS_MAX,
                    cJSON_IsString(item) ? "another string" : check_found(item));
    }
}

static const struct field host_limits[] = {
    {.key = "connections", .min = 1, .max = 10000000, IN_MANIFEST(host.limits.connections)},
    {.key = "posts", .min = 1, .max = 10000000, IN_MANIFEST(host.limits.posts)},
    {.key = "descriptors_reserved",
     .min = 0,
     .max = 65536,
     IN_MANIFEST(host.limits.descriptors_reserved)},
    {.key = "files", .min = 1, .max = 10000000, IN_MANIFEST(host.limits.files)},
};

static const struct field host_plugin_files[] = {
    {.key = "bytes_max", .min = 4096, .max = 1073741824, IN_MANIFEST(host.plugin_files.bytes_max)},
    {.key = "untrusted",
     .kind = FIELD_CHOICE,
     CHOICES(untrusted),
     IN_MANIFEST(host.plugin_files.untrusted)},
    {.key = "copies", .kind = FIELD_TEXT, IN_MANIFEST(host.plugin_files.copies)},
};

static const struct field host_buffers[] = {
    {.key = "bytes",
     .min = 4096,
     .max = 1048576,
     .multiple = 4096,
     IN_MANIFEST(host.buffers.bytes)},
    {.key = "retained_max", .min = 0, .max = 1000000, IN_MANIFEST(host.buffers.retained_max)},
};

static const struct field host_turn[] = {
    {.key = "receive_bytes", .min = 4096, .max = 16777216, IN_MANIFEST(host.turn.receive_bytes)},
    {.key = "send_bytes", .min = 4096, .max = 1073741824, IN_MANIFEST(host.turn.send_bytes)},
};

static const struct field host_work[] = {
    {.key = "threads_min", .min = 0, .max = WORK_THREADS_MAX, IN_MANIFEST(host.work.threads_min)},
    {.key = "threads_max", .min = 1, .max = WORK_THREADS_MAX, IN_MANIFEST(host.work.threads_max)},
    {.key = "queue_max", .min = 1, .max = 10000000, IN_MANIFEST(host.work.queue_max)},
    {.key = "idle_ms", .min = 1, .max = 3600000, IN_MANIFEST(host.work.idle_ms)},
};

static const struct field host_log[] = {
    {.key = "level", .kind = FIELD_CHOICE, CHOICES(log_levels), IN_MANIFEST(host.log.level)},
    {.key = "format", .kind = FIELD_CHOICE, CHOICES(log_formats), IN_MANIFEST(host.log.format)},
    {.key = "queue_bytes", .min = 65536, .max = 1073741824, IN_MANIFEST(host.log.queue_bytes)},
    {.key = "limit_lines", .min = 0, .max = 1000000, IN_MANIFEST(host.log.limit_lines)},
    {.key = "limit_window_ms", .min = 100, .max = 3600000, IN_MANIFEST(host.log.limit_window_ms)},
    {.key = "flush_timeout_ms", .min = 0, .max = 60000, IN_MANIFEST(host.log.flush_timeout_ms)},
};

static const struct field host[] = {
    {.key = "name", .kind = FIELD_OTHER, .read = read_name},
    {.key = "workers", .kind = FIELD_OTHER, .read = read_workers},
    {.key = "engine", .kind = FIELD_CHOICE, CHOICES(engines), IN_MANIFEST(host.engine)},
    {.key = "direct_descriptors", .min = 0, .max = 1048576, IN_MANIFEST(host.direct_descriptors)},
    {.key = "plugins", .kind = FIELD_TEXT, IN_MANIFEST(host.plugins)},
    {.key = "plugin_files", .kind = FIELD_OBJECT, FIELDS(host_plugin_files)},
    {.key = "drain_timeout_ms", .min = 0, .max = 3600000, IN_MANIFEST(host.drain_timeout_ms)},
    {.key = "generation_drain_timeout_ms",
     .min = 0,
     .max = 2147483647,
     IN_MANIFEST(host.generation_drain_timeout_ms)},
    {.key = "generations_max", .min = 2, .max = 1000, IN_MANIFEST(host.generations_max)},
    {.key = "stall_warning_ms", .min = 0, .max = 3600000, IN_MANIFEST(host.stall_warning_ms)},
    {.key = "hang_timeout_ms", .min = 0, .max = 3600000, IN_MANIFEST(host.hang_timeout_ms)},
    {.key = "crashes_max", .min = 1, .max = 1000, IN_MANIFEST(host.crashes_max)},
    {.key = "crash_window_ms", .min = 1000, .max = 86400000, IN_MANIFEST(host.crash_window_ms)},
    {.key = "crash_end_ms", .min = 100, .max = 3600000, IN_MANIFEST(host.crash_end_ms)},
    {.key = "start_timeout_ms", .min = 0, .max = 3600000, IN_MANIFEST(host.start_timeout_ms)},
    {.key = "control", .kind = FIELD_BOOL, IN_MANIFEST(host.control)},
    {.key = "limits", .kind = FIELD_OBJECT, FIELDS(host_limits)},
    {.key = "buffers", .kind = FIELD_OBJECT, FIELDS(host_buffers)},
    {.key = "turn", .kind = FIELD_OBJECT, FIELDS(host_turn)},
    {.key = "work", .kind = FIELD_OBJECT, FIELDS(host_work)},
    {.key = "log", .kind = FIELD_OBJECT, FIELDS(host_log)},
};

const char *manifest_engine_name(enum manifest_engine engine) {
    return engines[engine];
}

bool fields_set_defaults(struct manifest *manifest) {
    manifest->host.name = alloc_string("berth");
    manifest->host.plugins = alloc_string("plugins");
    manifest->host.plugin_files.bytes_max = 256 * 1024 * 1024;
    manifest->host.drain_timeout_ms = 10000;
    manifest->host.generations_max = 8;
    manifest->host.stall_warning_ms = 1000;
    manifest->host.hang_timeout_ms = 30000;
    manifest->host.crashes_max = 3;
    manifest->host.crash_window_ms = 60000;
    manifest->host.crash_end_ms = 10000;
    manifest->host.start_timeout_ms = MANIFEST_START_TIMEOUT_MS;
    manifest->host.control = true;
    manifest->host.limits.connections = 50000;
    manifest->host.limits.posts = 65536;
    manifest->host.limits.descriptors_reserved = 32;
    manifest->host.limits.files = 4096;
    manifest->host.work.threads_min = 0;
    manifest->host.work.threads_max = 16;
    manifest->host.work.queue_max = 1024;
    manifest->host.work.idle_ms = 10000;
    manifest->host.buffers.bytes = 16384;
    manifest->host.buffers.retained_max = 1024;
    manifest->host.turn.receive_bytes = 65536;
    manifest->host.turn.send_bytes = 262144;
    manifest->host.log.level = LOG_LEVEL_INFO;
    manifest->host.log.format = LOG_FORMAT_TEXT;
    manifest->host.log.queue_bytes = 1048576;
    manifest->host.log.limit_lines = 20;
    manifest->host.log.limit_window_ms = 10000;
    manifest->host.log.flush_timeout_ms = 2000;
    return manifest->host.name && manifest->host.plugins;
}

/* -- listeners -----------------------------------------------------------------------------------
 */

static void read_one_address(struct checker *checker, struct checked value,
                             struct manifest_listener *listener) {
    struct error error;
    struct berth_address address;
    if (!cJSON_IsString(value.item)) {
        check_error(checker, value.pointer,
                    "expected an address like \"127.0.0.1:5001\" or \"[::1]:5001\", found %s",
                    check_found(value.item));
    } else if (!address_parse_zone(&address, value.item->valuestring, os_interface_find, &error)) {
        check_error(checker, value.pointer,
                    "\"%.64s\": %s; expected one like \"127.0.0.1:5001\" or \"[::1]:5001\"",
                    value.item->valuestring, error.message);
    } else if (address_is_mapped(&address)) {
        char plain[BERTH_ADDRESS_TEXT_MAX];
        address_unmap(&address);
        address_format(&address, plain, sizeof(plain));
        check_error(checker, value.pointer,
                    "\"%.64s\": an IPv4 address in the form of an IPv6 one, which no socket can "
                    "listen at; write \"%s\"",
                    value.item->valuestring, plain);
    } else if (address_is_link_local(&address) && address.scope_id == 0) {
        check_error(checker, value.pointer,
                    "\"%.64s\": a link-local address needs the network interface it is of, as in "
                    "\"[fe80::1%%eth0]:5001\"",
                    value.item->valuestring);
    } else {
        listener->addresses[listener->address_count++] = address;
    }
}

static void read_address(struct checker *checker, struct checked value, void *target) {
    struct manifest_listener *listener = target;
    char pointer[CHECK_POINTER_MAX];
    int count = cJSON_IsArray(value.item) ? cJSON_GetArraySize(value.item) : 1;
    if (count < 1 || count > ADDRESSES_MAX) {
        check_error(checker, value.pointer, "expected 1 to %d addresses, found %d", ADDRESSES_MAX,
                    count);
        return;
    }
    /* A key that is there twice (and was reported) brings the listener here twice. */
    alloc_free(listener->addresses);
    listener->address_count = 0;
    listener->addresses = alloc_array((size_t)count, sizeof(*listener->addresses));
    if (!listener->addresses) {
        checker->failed = true;
        return;
    }
    if (!cJSON_IsArray(value.item)) {
        read_one_address(checker, value, listener);
        return;
    }
    for (int i = 0; i < count; i++) {
        char index[16];
        snprintf(index, sizeof(index), "%d", i);
        check_pointer(pointer, value.pointer, index);
        read_one_address(checker, (struct checked){cJSON_GetArrayItem(value.item, i), pointer},
                         listener);
    }
}

static void read_config(struct checker *checker, struct checked value, void *target) {
    struct manifest_listener *listener = target;
    if (!cJSON_IsObject(value.item)) {
        check_error(checker, value.pointer, "expected an object, found %s",
                    check_found(value.item));
        return;
    }
    char *text = cJSON_PrintUnformatted(value.item);
    alloc_free(listener->config_json);
    listener->config_json = text ? check_copy(checker, text) : NULL;
    checker->failed |= !text;
    cJSON_free(text);
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
    {.key = "pending_max", .min = 1, .max = 10000000, IN_LISTENER(accept.pending_max)},
    {.key = "at_limit", .kind = FIELD_CHOICE, CHOICES(at_limits), IN_LISTENER(accept.at_limit)},
    {.key = "reuse_sockets", .kind = FIELD_BOOL, IN_LISTENER(accept.reuse_sockets)},
};

/* A number: so many a second, and at once. */
static void read_rate(struct checker *checker, struct checked value, void *target) {
    static const struct field rate[] = {
        {.key = "per_second",
         .required = true,
         .min = 1,
         .max = RATE_MAX,
         IN_LISTENER(limits.accept_rate_per_client.per_second)},
        {.key = "burst",
         .min = 1,
         .max = RATE_MAX,
         IN_LISTENER(limits.accept_rate_per_client.burst)},
    };
    struct manifest_listener *listener = target;
    if (cJSON_IsObject(value.item)) {
        check_object(checker, value, rate, ARRAY_COUNT(rate), target);
    } else if (cJSON_IsNumber(value.item)) {
        check_field(checker, value, &rate[0], target);
    } else {
        check_error(checker, value.pointer,
                    "expected a whole number from 1 to %d (connections a second), or an object "
                    "with \"per_second\" and \"burst\", found %s",
                    RATE_MAX, check_found(value.item));
    }
    if (listener->limits.accept_rate_per_client.burst == 0) {
        listener->limits.accept_rate_per_client.burst =
            listener->limits.accept_rate_per_client.per_second;
    }
}

static void read_prefix(struct checker *checker, struct checked value,
                        struct address_prefix *prefix) {
    struct error error;
    if (!cJSON_IsString(value.item)) {
        check_error(checker, value.pointer,
                    "expected a network like \"10.0.0.0/8\" or \"2001:db8::/32\", found %s",
                    check_found(value.item));
    } else if (!address_prefix_parse(prefix, value.item->valuestring, os_interface_find, &error)) {
        check_error(checker, value.pointer,
                    "\"%.64s\": %s; expected one like \"10.0.0.0/8\" or \"2001:db8::/32\"",
                    value.item->valuestring, error.message);
    }
}

/* A key that is there twice (and was reported) brings the listener here twice. */
static void read_prefixes(struct checker *checker, struct checked value,
                          struct address_prefix **prefixes, size_t *count) {
    char pointer[CHECK_POINTER_MAX];
    int size = cJSON_GetArraySize(value.item);
    if (!cJSON_IsArray(value.item)) {
        check_error(checker, value.pointer, "expected an array of networks, found %s",
                    check_found(value.item));
        return;
    }
    if (size < 1 || size > PREFIXES_MAX) {
        check_error(checker, value.pointer, "expected 1 to %d networks, found %d%s", PREFIXES_MAX,
                    size, size < 1 ? "; leave the key out to have no such list" : "");
        return;
    }
    alloc_free(*prefixes);
    *count = 0;
    *prefixes = alloc_array((size_t)size, sizeof(**prefixes));
    if (!*prefixes) {
        checker->failed = true;
        return;
    }
    for (const cJSON *item = value.item->child; item; item = item->next) {
        char index[24];
        snprintf(index, sizeof(index), "%zu", *count);
        check_pointer(pointer, value.pointer, index);
        read_prefix(checker, (struct checked){item, pointer}, &(*prefixes)[*count]);
        (*count)++;
    }
}

static void read_allow(struct checker *checker, struct checked value, void *target) {
    struct manifest_listener *listener = target;
    read_prefixes(checker, value, &listener->allow, &listener->allow_count);
}

static void read_deny(struct checker *checker, struct checked value, void *target) {
    struct manifest_listener *listener = target;
    read_prefixes(checker, value, &listener->deny, &listener->deny_count);
}

static const struct field listener_limits[] = {
    {.key = "connections", .min = 1, .max = 10000000, IN_LISTENER(limits.connections)},
    {.key = "per_client", .min = 1, .max = 10000000, IN_LISTENER(limits.per_client)},
    {.key = "accept_rate_per_client", .kind = FIELD_OTHER, .read = read_rate},
    {.key = "clients_remembered",
     .min = 1,
     .max = 10000000,
     IN_LISTENER(limits.clients_remembered)},
    {.key = "refusing", .min = 0, .max = 1000000, IN_LISTENER(limits.refusing)},
    {.key = "message_bytes", .min = 256, .max = 16777216, IN_LISTENER(limits.message_bytes)},
    {.key = "send_queue_bytes",
     .min = 4096,
     .max = 1073741824,
     IN_LISTENER(limits.send_queue_bytes)},
    {.key = "send_queue_pieces", .min = 16, .max = 1000000, IN_LISTENER(limits.send_queue_pieces)},
    {.key = "send_queue_full",
     .kind = FIELD_CHOICE,
     CHOICES(queue_fulls),
     IN_LISTENER(limits.send_queue_full)},
    {.key = "linger_bytes", .min = 0, .max = 1073741824, IN_LISTENER(limits.linger_bytes)},
    {.key = "active_io", .min = 1, .max = 10000000, IN_LISTENER(limits.active_io)},
    {.key = "outbound", .min = 0, .max = 10000000, IN_LISTENER(limits.outbound)},
    {.key = "works", .min = 1, .max = 10000000, IN_LISTENER(limits.works)},
    {.key = "works_per_client", .min = 1, .max = 10000000, IN_LISTENER(limits.works_per_client)},
    {.key = "timers", .min = 0, .max = 10000000, IN_LISTENER(limits.timers)},
};

static void read_proxies(struct checker *checker, struct checked value, void *target) {
    struct manifest_listener *listener = target;
    read_prefixes(checker, value, &listener->proxy_protocol.from,
                  &listener->proxy_protocol.from_count);
}

static const struct field proxy_protocol[] = {
    {.key = "from", .kind = FIELD_OTHER, .required = true, .read = read_proxies},
    {.key = "timeout_ms", .min = 100, .max = 3600000, IN_LISTENER(proxy_protocol.timeout_ms)},
};

static const struct field keepalive[] = {
    {.key = "idle_s",
     .required = true,
     .min = 1,
     .max = 32767,
     IN_LISTENER(socket.keepalive.idle_s)},
    {.key = "interval_s", .min = 1, .max = 32767, IN_LISTENER(socket.keepalive.interval_s)},
    {.key = "probes", .min = 1, .max = 127, IN_LISTENER(socket.keepalive.probes)},
};

static const struct field socket_options[] = {
    {.key = "receive_buffer_bytes",
     .min = 2048,
     .max = 1073741824,
     IN_LISTENER(socket.receive_buffer_bytes)},
    {.key = "send_buffer_bytes",
     .min = 2048,
     .max = 1073741824,
     IN_LISTENER(socket.send_buffer_bytes)},
    {.key = "linger", .kind = FIELD_CHOICE, CHOICES(lingers), IN_LISTENER(socket.linger)},
    {.key = "keepalive", .kind = FIELD_OBJECT, FIELDS(keepalive)},
};

static const struct field listener[] = {
    {.key = "address", .kind = FIELD_OTHER, .required = true, .read = read_address},
    {.key = "plugin", .kind = FIELD_OTHER, .required = true, .read = read_plugin},
    {.key = "transport", .kind = FIELD_CHOICE, CHOICES(transports), IN_LISTENER(transport)},
    {.key = "v6_only", .kind = FIELD_BOOL, IN_LISTENER(v6_only)},
    {.key = "accept_own_datagrams", .kind = FIELD_BOOL, IN_LISTENER(accept_own_datagrams)},
    {.key = "accept", .kind = FIELD_OBJECT, FIELDS(accept)},
    {.key = "limits", .kind = FIELD_OBJECT, FIELDS(listener_limits)},
    {.key = "allow", .kind = FIELD_OTHER, .read = read_allow},
    {.key = "deny", .kind = FIELD_OTHER, .read = read_deny},
    {.key = "close_timeout_ms", .min = 0, .max = 3600000, IN_LISTENER(close_timeout_ms)},
    {.key = "idle_timeout_ms", .min = 0, .max = 2147483647, IN_LISTENER(idle_timeout_ms)},
    {.key = "generation_drain_timeout_ms",
     .min = 0,
     .max = 2147483647,
     IN_LISTENER(generation_drain_timeout_ms)},
    {.key = "no_delay", .kind = FIELD_BOOL, IN_LISTENER(no_delay)},
    {.key = "socket", .kind = FIELD_OBJECT, FIELDS(socket_options)},
    {.key = "proxy_protocol", .kind = FIELD_OBJECT, FIELDS(proxy_protocol)},
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
    if (one->accept.pending_max == 0) {
        uint32_t by_pool = *high * PENDING_DEFAULT_FACTOR;
        one->accept.pending_max = by_pool > PENDING_DEFAULT ? by_pool : PENDING_DEFAULT;
    }
}

static void read_listener(struct checker *checker, struct checked value,
                          struct manifest_listener *one) {
    const char *name = value.item->string;
    *one = (struct manifest_listener){
        .accept = {.first_data_timeout_ms = 5000, .reuse_sockets = true},
        .limits = {.connections = 10000,
                   .clients_remembered = 65536,
                   .refusing = 256,
                   .message_bytes = 65536,
                   .outbound = 10000,
                   .works = 1024,
                   .works_per_client = 1024,
                   .timers = 64,
                   .send_queue_bytes = 1048576,
                   .send_queue_pieces = 4096,
                   .linger_bytes = 16777216},
        .proxy_protocol = {.timeout_ms = 5000},
        .socket = {.keepalive = {.interval_s = 10, .probes = 6}},
        .close_timeout_ms = 5000,
        .generation_drain_timeout_ms = MANIFEST_AS_HOST,
        .no_delay = true,
        .receive = MANIFEST_RECEIVE_ZERO_BYTE,
    };
    one->name = check_copy(checker, name);
    one->config_json = check_copy(checker, "{}");
    char *json = cJSON_PrintUnformatted(value.item);
    one->json = json ? check_copy(checker, json) : NULL;
    checker->failed = checker->failed || !json;
    cJSON_free(json);
    one->line = places_key(checker->places, value.pointer).line;
    if (!is_name(name)) {
        check_key_error(checker, value.pointer, "not a listener's name (%s)", name_rule);
    }
    check_object(checker, value, listener, ARRAY_COUNT(listener), one);
    fill_pool(one);
}

static void read_listeners(struct checker *checker, struct checked value, void *target) {
    struct manifest *manifest = target;
    char pointer[CHECK_POINTER_MAX];
    if (!cJSON_IsObject(value.item)) {
        check_error(checker, value.pointer, "expected an object, found %s",
                    check_found(value.item));
        return;
    }
    int count = cJSON_GetArraySize(value.item);
    if (count < 1) {
        check_error(checker, value.pointer, "expected at least one listener");
        return;
    }
    if (manifest->listeners) {
        return; /* the key is there twice, which was reported: the first one is checked */
    }
    manifest->listeners = alloc_array((size_t)count, sizeof(*manifest->listeners));
    if (!manifest->listeners) {
        checker->failed = true;
        return;
    }
    for (const cJSON *item = value.item->child; item; item = item->next) {
        check_pointer(pointer, value.pointer, item->string);
        read_listener(checker, (struct checked){item, pointer},
                      &manifest->listeners[manifest->listener_count++]);
    }
}

void fields_free_listener(struct manifest_listener *one) {
    alloc_free(one->name);
    alloc_free(one->plugin);
    alloc_free(one->addresses);
    alloc_free(one->config_json);
    alloc_free(one->json);
    alloc_free(one->allow);
    alloc_free(one->deny);
    alloc_free(one->proxy_protocol.from);
}

/* -- the document ---------------------------------------------------------------------------------
 */

static void read_version(struct checker *checker, struct checked value, void *target) {
    (void)target;
    if (!cJSON_IsNumber(value.item) || value.item->valuedouble != 1) {
        check_error(checker, value.pointer,
                    "expected 1, the version of the manifest that this host reads");
    }
}

static void read_schema(struct checker *checker, struct checked value, void *target) {
    (void)target; /* for editors */
    if (!cJSON_IsString(value.item)) {
        check_error(checker, value.pointer, "expected a string, found %s", check_found(value.item));
    }
}

const struct field fields_document[] = {
    {.key = "$schema", .kind = FIELD_OTHER, .read = read_schema},
    {.key = "manifest", .kind = FIELD_OTHER, .required = true, .read = read_version},
    {.key = "host", .kind = FIELD_OBJECT, FIELDS(host)},
    {.key = "listeners", .kind = FIELD_OTHER, .required = true, .read = read_listeners},
};
const size_t fields_document_count = ARRAY_COUNT(fields_document);
