/* Manifests: settings by chance, some for a whole world and some anew with each change. The world
 * notes the limits that were ever in force. */
#include <stdio.h>

#include "base/macros.h"
#include "control/runtime.h"
#include "host_in_world.h"
#include "rule.h"
#include "world.h"

enum { TEXT_BYTES = 8192 };

static struct {
    bool has_datagrams;
    bool allows; /* in place of denying */
    uint32_t buffers_retained_max;
    uint32_t turn_bytes;
} settings;

static uint32_t between(uint32_t least, uint32_t most) {
    return least + (uint32_t)sim_random(most - least + 1ULL);
}

static uint32_t one_of(uint32_t one, uint32_t other) {
    return sim_random(2) == 0 ? one : other;
}

static void note_least(uint32_t *least, uint32_t value) {
    *least = *least == 0 || value < *least ? value : *least;
}

static void note_most(uint32_t *most, uint32_t value) {
    *most = value > *most ? value : *most;
}

void manifest_settings_by_chance(void) {
    world.has_proxies = sim_random(3) == 0;
    world.denies = sim_random(4) == 0;
    world.is_crowded = sim_random(4) == 0;
    world.linger_max = one_of(1000, 1048576);
    world.buffer_bytes = one_of(4096, 16384);
    world.busy_bytes = sim_random(4) == 0 ? 0 : between(1, 300);
    world.rate = sim_random(4) == 0 ? between(1, 3) : 0;
    world.rate_burst = between(1, 4);
    world.posts_max = one_of(between(1, 20), 1000);
    world.queue_max = one_of(between(1, 8), 100);
    world.host_connections_max = sim_random(4) == 0 ? between(3, 10) : 1000;
    settings.has_datagrams = sim_random(2) == 0;
    settings.allows = sim_random(2) == 0;
    world.files_max = one_of(between(1, 3), 100);
    settings.buffers_retained_max = one_of(between(0, 8), 1024);
    settings.turn_bytes = one_of(4096, 262144);
}

static const char host_text[] =
    "{\"manifest\": 1, \"host\": {\"name\": \"simulated\", \"control\": false, \"workers\": %u,"
    " \"stall_warning_ms\": 0, \"hang_timeout_ms\": 0, \"generation_drain_timeout_ms\": %u,"
    " \"limits\": {\"connections\": %u, \"posts\": %u, \"files\": %u},"
    " \"turn\": {\"receive_bytes\": %u, \"send_bytes\": %u},"
    " \"work\": {\"threads_min\": 1, \"threads_max\": 1, \"queue_max\": %u},"
    " \"buffers\": {\"bytes\": %u, \"retained_max\": %u}}, \"listeners\": {%s%s%s}}";

/* -- the listener that the clients are on ---------------------------------- */

static const char accept_text[] =
    " \"accept\": {\"when\": \"%s\", \"backlog\": 1000, \"first_data_timeout_ms\": %u,"
    "  \"pending_max\": %u, \"at_limit\": \"%s\", \"reuse_sockets\": %s,"
    "  \"pool\": {\"initial\": %u, \"low\": 1, \"high\": %u}}";

static const char limits_text[] =
    " \"limits\": {\"connections\": %u, \"refusing\": %u, \"message_bytes\": 4096,"
    "  \"active_io\": %u, \"timers\": %u, \"works\": %u, \"works_per_client\": %u,"
    "  \"outbound\": %u, \"send_queue_bytes\": %u, \"send_queue_pieces\": %u,"
    "  \"send_queue_full\": \"%s\", \"linger_bytes\": %u, \"per_client\": %u%s}";

static const char main_text[] =
    "\"main\": {\"address\": %s, \"plugin\": \"checking\", \"config\": {\"number\": %u}, %s, %s,"
    " \"receive\": \"%s\", \"idle_timeout_ms\": %u, \"close_timeout_ms\": %u%s%s}";

static const char proxies_text[] =
    ", \"proxy_protocol\": {\"from\": [\"127.0.0.2\"], \"timeout_ms\": 5000}";

static const char *lists_text(void) {
    return !world.denies     ? ""
           : settings.allows ? ", \"allow\": [\"127.0.0.0/31\", \"127.0.0.2\", \"10.0.0.0/8\"]"
                             : ", \"deny\": [\"127.0.0.3\"]";
}

static void accept_by_chance(char *text, size_t size) {
    uint32_t first_data_ms = between(1500, 20000);
    uint32_t pending = one_of(between(2, 6), 200);
    uint32_t high = world.is_crowded ? between(2, 8) : between(16, 64);
    note_least(&world.first_data_min_ms, first_data_ms);
    note_most(&world.first_data_max_ms, first_data_ms);
    note_least(&world.pending_min, pending);
    snprintf(text, size, accept_text, one_of(0, 1) ? "data" : "connect", first_data_ms, pending,
             one_of(0, 1) ? "refuse" : "backlog", one_of(0, 1) ? "true" : "false",
             between(1, high < 16 ? high : 16), high);
}

static void limits_by_chance(char *text, size_t size) {
    char rate[80] = "";
    uint32_t connections = one_of(between(2, 8), 1000);
    uint32_t timers = between(1, 8);
    uint32_t active_io = sim_random(3) == 0 ? between(1, 4) : 1000;
    uint32_t works = one_of(between(1, 4), 100);
    uint32_t per_client = one_of(1000, between(1, 4));
    if (world.rate > 0) { /* a change would forget who has come how often */
        per_client = world.per_client_max > 0 ? world.per_client_max : per_client;
        snprintf(rate, sizeof(rate),
                 ", \"accept_rate_per_client\": {\"per_second\": %u, \"burst\": %u}", world.rate,
                 world.rate_burst);
    }
    note_most(&world.connections_max, connections);
    note_least(&world.connections_min, connections);
    note_most(&world.per_client_max, per_client);
    note_least(&world.per_client_min, per_client);
    note_most(&world.works_max, works);
    note_most(&world.active_io_max, active_io);
    snprintf(text, size, limits_text, connections, between(1, 10), active_io, timers, works,
             between(1, 4), between(1, 20), one_of(4096, 65536), one_of(16, 4096),
             sim_random(4) == 0 ? "close" : "pause", world.linger_max, per_client, rate);
}

static void main_by_chance(char *text, size_t size, unsigned config) {
    char accept[512];
    char limits[768];
    accept_by_chance(accept, sizeof(accept));
    limits_by_chance(limits, sizeof(limits));
    int length = snprintf(
        text, size, main_text,
        sim_random(3) == 0 ? "[\"127.0.0.1:0\", \"127.0.0.2:0\"]" : "\"127.0.0.1:0\"", config,
        accept, limits, one_of(0, 1) ? "buffered" : "zero-byte", between(500, 10000),
        one_of(between(200, 5000), 20000), world.has_proxies ? proxies_text : "", lists_text());
    RULE(length > 0 && (size_t)length < size, "there is room for the manifest");
}

/* -- others ---------------------------------------------------------------- */

static const char other_text[] = ", \"other\": {\"address\": \"127.0.0.1:0\", \"plugin\": "
                                 "\"checking\", \"config\": {\"number\": %u}}";

static const char datagrams_text[] =
    ", \"datagrams\": {\"address\": \"127.0.0.1:0\", \"transport\": \"udp\", \"plugin\": "
    "\"checking\", \"config\": {\"number\": %u}, \"limits\": {\"timers\": %u}%s}";

struct config_snapshot *config_snapshot_by_chance(unsigned config, unsigned workers) {
    char listeners[TEXT_BYTES / 2];
    char other[256] = "";
    char datagrams[512] = "";
    char text[TEXT_BYTES];
    struct manifest_errors errors = {0};
    main_by_chance(listeners, sizeof(listeners), config);
    if (sim_random(2) == 0) {
        snprintf(other, sizeof(other), other_text, (unsigned)sim_random(2));
    }
    if (settings.has_datagrams) {
        snprintf(datagrams, sizeof(datagrams), datagrams_text, config, between(1, 8), lists_text());
    }
    int size = snprintf(text, sizeof(text), host_text, workers, one_of(0, between(100, 5000)),
                        world.host_connections_max, world.posts_max, world.files_max,
                        settings.turn_bytes > world.buffer_bytes ? settings.turn_bytes
                                                                 : world.buffer_bytes,
                        settings.turn_bytes, world.queue_max, world.buffer_bytes,
                        settings.buffers_retained_max, listeners, other, datagrams);
    struct manifest *manifest = manifest_parse("/simulated.json", text, (size_t)size, &errors);
    RULE(manifest, "the manifest is right: %s in %s",
         errors.count > 0 ? errors.items[0].message : "memory", text);
    manifest_errors_fini(&errors);
    struct config_snapshot *config_snapshot = config_snapshot_create(manifest);
    RULE(config_snapshot, "there is memory without a fault");
    return config_snapshot;
}
