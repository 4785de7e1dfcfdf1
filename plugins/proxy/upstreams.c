#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/config.h"
#include "proxy/proxy.h"

enum { UPSTREAMS_MAX = 64, TIME_MAX_MS = 3600000 };

/* -- the configuration ----------------------------------------------------- */

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
        if (!cJSON_IsString(item) || !target_read(&upstreams->items[i].target, item->valuestring)) {
            return berth_error_set(error, BERTH_E_INVALID,
                                   "/upstreams/%d: expected an address with a port, like "
                                   "\"backend.example:8080\" or \"[::1]:8080\"",
                                   i);
        }
        upstreams->count++;
    }
    return BERTH_OK;
}

int32_t BERTH_CALL upstreams_check_config(const struct berth_config_request *request,
                                          struct berth_config_errors *errors) {
    char pointer[32];
    cJSON *config = cJSON_Parse(request->config_json);
    if (!config) {
        return BERTH_E_NO_MEMORY;
    }
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(config, "upstreams");
    unsigned index = 0;
    for (const cJSON *item = list ? list->child : NULL; item; item = item->next) {
        struct target target;
        if (!target_read(&target, item->valuestring)) {
            snprintf(pointer, sizeof(pointer), "/upstreams/%u", index);
            errors->add(errors, pointer,
                        "expected an address with a port, like \"backend.example:8080\" or "
                        "\"[::1]:8080\"");
        }
        index++;
    }
    cJSON_Delete(config);
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
        {.name = "health_check_ms",
         .kind = CONFIG_NUMBER,
         .target = &upstreams->health_check_ms,
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
        health_stop(upstreams->health);
        free(upstreams->items);
        free(upstreams);
    }
}

/* -- selection ------------------------------------------------------------- */

/* The best of those that are up (or down, when `down`), beginning with number `from`. */
static struct upstream *upstreams_best(struct upstreams *upstreams, uint32_t from, bool down,
                                       uint64_t tried) {
    struct upstream *found = NULL;
    for (uint32_t i = 0; i < upstreams->count; i++) {
        uint32_t index = (from + i) % upstreams->count;
        struct upstream *one = &upstreams->items[index];
        if (atomic_load(&one->is_down) != down || (tried >> index & 1) != 0) {
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

struct upstream *upstreams_choose(struct upstreams *upstreams, uint64_t *tried) {
    uint32_t from = atomic_fetch_add(&upstreams->next, 1) % upstreams->count;
    struct upstream *one = upstreams_best(upstreams, from, false, *tried);
    if (!one) {
        one = upstreams_best(upstreams, from, true, *tried);
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

/* -- upstreams that are down ----------------------------------------------- */

bool upstream_failed(struct upstreams *upstreams, struct upstream *upstream, uint64_t now_ms) {
    if (upstreams->retry_after_ms == 0) {
        return true; /* no upstream is down */
    }
    atomic_store(&upstream->probe_at_ms, now_ms + upstreams->retry_after_ms);
    return !atomic_exchange(&upstream->is_down, true);
}

bool upstream_answered(struct upstream *upstream) {
    return atomic_exchange(&upstream->is_down, false);
}

struct upstream *upstreams_to_probe(struct upstreams *upstreams, uint64_t now_ms, uint64_t tried) {
    for (uint32_t i = 0; i < upstreams->count; i++) {
        struct upstream *one = &upstreams->items[i];
        uint64_t at_ms = atomic_load(&one->probe_at_ms);
        /* No other connection probes it meanwhile. */
        uint64_t next_ms = now_ms + upstreams->connect_timeout_ms + upstreams->retry_after_ms;
        if (atomic_load(&one->is_down) && at_ms <= now_ms && (tried >> i & 1) == 0 &&
            atomic_compare_exchange_strong(&one->probe_at_ms, &at_ms, next_ms)) {
            return one;
        }
    }
    return NULL;
}

void upstream_call_off_probe(struct upstream *upstream, uint64_t now_ms) {
    atomic_store(&upstream->probe_at_ms, now_ms);
}
