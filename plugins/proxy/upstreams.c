#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "common/config.h"
#include "proxy.h"

enum { UPSTREAMS_MAX = 64, TIME_MAX_MS = 3600000 };

/* -- the configuration -------------------------------------------------------------------------
 */

/* "name:port", "1.2.3.4:port", "[::1]:port" */
static bool read_target(struct upstream *upstream, const char *text) {
    const char *colon = strrchr(text, ':');
    const char *begin = text;
    const char *end = colon;
    if (!colon) {
        return false;
    }
    if (text[0] == '[') {
        begin++;
        end--;
        if (end < begin || *end != ']') {
            return false;
        }
    } else if (memchr(text, ':', (size_t)(colon - text))) {
        return false; /* IPv6 wants brackets, or nobody knows where the port begins */
    }
    size_t length = (size_t)(end - begin);
    char *rest;
    unsigned long port = strtoul(colon + 1, &rest, 10);
    if (length == 0 || length > HOST_BYTES_MAX || colon[1] < '0' || colon[1] > '9' ||
        *rest != '\0' || port == 0 || port > UINT16_MAX) {
        return false;
    }
    memcpy(upstream->host, begin, length);
    upstream->port = (uint16_t)port;
    return true;
}

static int32_t read_targets(const cJSON *value, void *target, struct berth_error *error) {
    struct upstreams *upstreams = target;
    int count = cJSON_IsArray(value) ? cJSON_GetArraySize(value) : 0;
    if (count < 1 || count > UPSTREAMS_MAX) {
        return berth_error_set(error, BERTH_E_INVALID,
                               "/upstreams: expected an array of 1 to %d addresses like "
                               "\"backend.example:8080\" or \"[::1]:8080\"",
                               UPSTREAMS_MAX);
    }
    upstreams->items = calloc((size_t)count, sizeof(*upstreams->items));
    if (!upstreams->items) {
        return berth_error_set(error, BERTH_E_NO_MEMORY, "out of memory");
    }
    for (int i = 0; i < count; i++) {
        const cJSON *item = cJSON_GetArrayItem(value, i);
        if (!cJSON_IsString(item) || !read_target(&upstreams->items[i], item->valuestring)) {
            return berth_error_set(error, BERTH_E_INVALID,
                                   "/upstreams/%d: expected an address with a port, like "
                                   "\"backend.example:8080\" or \"[::1]:8080\"",
                                   i);
        }
        upstreams->count++;
    }
    return BERTH_OK;
}

struct upstreams *upstreams_create(const struct berth_listener *listener,
                                   struct berth_error *error) {
    static const char *const balances[] = {"round-robin", "least-connections", NULL};
    struct upstreams *upstreams = calloc(1, sizeof(*upstreams));
    if (!upstreams) {
        berth_error_set(error, BERTH_E_NO_MEMORY, "out of memory");
        return NULL;
    }
    upstreams->connect_timeout_ms = 5000;
    upstreams->retry_after_ms = 10000;
    const struct config_member members[] = {
        {.name = "upstreams",
         .kind = CONFIG_OWN,
         .required = true,
         .target = upstreams,
         .expected = "an array of 1 to 64 addresses like \"backend.example:8080\"",
         .read = read_targets},
        {.name = "balance", .kind = CONFIG_WORD, .target = &upstreams->balance, .words = balances},
        {.name = "connect_timeout_ms",
         .kind = CONFIG_NUMBER,
         .target = &upstreams->connect_timeout_ms,
         .min = 1,
         .max = TIME_MAX_MS},
        {.name = "retry_after_ms",
         .kind = CONFIG_NUMBER,
         .target = &upstreams->retry_after_ms,
         .max = TIME_MAX_MS},
        {.name = "proxy_protocol",
         .kind = CONFIG_NUMBER,
         .target = &upstreams->header_version,
         .min = 1,
         .max = 2},
    };
    if (config_read(listener, members, sizeof(members) / sizeof(members[0]), error) != BERTH_OK) {
        upstreams_destroy(upstreams);
        return NULL;
    }
    return upstreams;
}

void upstreams_destroy(struct upstreams *upstreams) {
    if (upstreams) {
        free(upstreams->items);
        free(upstreams);
    }
}

/* -- the choice --------------------------------------------------------------------------------
 */

/* The best of those that are up (or down, when `down`), beginning with number `from`. */
static struct upstream *best(struct upstreams *upstreams, uint32_t from, uint64_t now_ms, bool down,
                             uint64_t tried) {
    struct upstream *found = NULL;
    for (uint32_t i = 0; i < upstreams->count; i++) {
        uint32_t index = (from + i) % upstreams->count;
        struct upstream *one = &upstreams->items[index];
        bool is_down = atomic_load(&one->down_until_ms) > now_ms;
        if (is_down != down || (tried >> index & 1) != 0) {
            continue;
        }
        if (upstreams->balance == BALANCE_ROUND_ROBIN) {
            return one;
        }
        if (!found || atomic_load(&one->connections) < atomic_load(&found->connections)) {
            found = one;
        }
    }
    return found;
}

struct upstream *upstreams_choose(struct upstreams *upstreams, uint64_t now_ms, uint64_t *tried) {
    uint32_t from = atomic_fetch_add(&upstreams->next, 1) % upstreams->count;
    struct upstream *one = best(upstreams, from, now_ms, false, *tried);
    if (!one) {
        one = best(upstreams, from, now_ms, true, *tried);
    }
    if (one) {
        *tried |= UINT64_C(1) << (one - upstreams->items);
        atomic_fetch_add(&one->connections, 1);
    }
    return one;
}

void upstream_leave(struct upstream *upstream) {
    atomic_fetch_sub(&upstream->connections, 1);
}

void upstream_failed(struct upstreams *upstreams, struct upstream *upstream, uint64_t now_ms) {
    atomic_store(&upstream->down_until_ms, now_ms + upstreams->retry_after_ms);
}

void upstream_answered(struct upstream *upstream) {
    atomic_store(&upstream->down_until_ms, 0);
}
