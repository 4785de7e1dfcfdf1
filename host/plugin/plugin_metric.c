#include "plugin/plugin_metric.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <utlist.h>

#include "base/alloc.h"
#include "base/macros.h"
#include "net/listen/listener.h"
#include "net/run/server.h"
#include "plugin/callback_guard.h"

enum {
    NAME_BYTES_MAX = 64,
    KEY_BYTES_MAX = 32,
    VALUE_BYTES_MAX = 255,
    LINE_NUMBERS = 8, /* in a line of a cache */
};

struct berth_metric {
    struct berth_metric *prev; /* in listener->metrics */
    struct berth_metric *next;
    uint32_t kind;
    char *name;
    char *help;
    struct berth_metric_label *labels;
    uint32_t label_count;
    uint32_t bound_count;
    int64_t *bounds;
    uint32_t shards;       /* one a worker, and one for all other threads; a gauge has one */
    uint32_t stride;       /* numbers of a shard; of a histogram the buckets, then the sum */
    atomic_llong *numbers; /* of all shards */
};

/* -- requests -------------------------------------------------------------- */

static bool is_word(const char *text, size_t bytes_max) {
    size_t length = text ? strlen(text) : 0;
    return length >= 1 && length <= bytes_max && text[0] >= 'a' && text[0] <= 'z' &&
           strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_") == length;
}

static const char *find_wrong_label(const struct berth_metric_request *request) {
    static const char *const taken[] = {"listener", "plugin", "generation", "le"};
    for (uint32_t i = 0; i < request->label_count; i++) {
        const struct berth_metric_label *label = &request->labels[i];
        if (!is_word(label->key, KEY_BYTES_MAX)) {
            return "a label's key is not [a-z][a-z0-9_]{0,31}";
        }
        if (!label->value || strlen(label->value) > VALUE_BYTES_MAX) {
            return "a label has no value, or one of more than 255 bytes";
        }
        for (size_t k = 0; k < ARRAY_COUNT(taken); k++) {
            if (strcmp(label->key, taken[k]) == 0) {
                return "a label's key is one of the host's own";
            }
        }
        for (uint32_t k = 0; k < i; k++) {
            if (strcmp(label->key, request->labels[k].key) == 0) {
                return "two labels have the same key";
            }
        }
    }
    return NULL;
}

static const char *find_wrong_bounds(const struct berth_metric_request *request) {
    if (request->kind != BERTH_METRIC_HISTOGRAM) {
        return request->bound_count > 0 || request->bounds ? "only a histogram has bounds" : NULL;
    }
    if (request->bound_count == 0 || request->bound_count > BERTH_METRIC_BOUNDS_MAX ||
        !request->bounds) {
        return "a histogram has 1 to 32 bounds";
    }
    for (uint32_t i = 1; i < request->bound_count; i++) {
        if (request->bounds[i] <= request->bounds[i - 1]) {
            return "the bounds do not rise";
        }
    }
    return NULL;
}

static bool has_labels(const struct berth_metric *metric,
                       const struct berth_metric_request *request) {
    if (metric->label_count != request->label_count) {
        return false;
    }
    for (uint32_t i = 0; i < request->label_count; i++) {
        uint32_t k = 0;
        while (k < metric->label_count &&
               (strcmp(metric->labels[k].key, request->labels[i].key) != 0 ||
                strcmp(metric->labels[k].value, request->labels[i].value) != 0)) {
            k++;
        }
        if (k == metric->label_count) {
            return false;
        }
    }
    return true;
}

static const char *find_wrong(const struct listener *listener,
                              const struct berth_metric_request *request) {
    if (!is_word(request->name, NAME_BYTES_MAX)) {
        return "its name is not [a-z][a-z0-9_]{0,63}";
    }
    if (request->label_count > BERTH_METRIC_LABELS_MAX ||
        (request->label_count > 0 && !request->labels)) {
        return "it has more than 8 labels, or says so and has none";
    }
    const char *wrong = find_wrong_label(request);
    wrong = wrong ? wrong : find_wrong_bounds(request);
    const struct berth_metric *other;
    DL_FOREACH(listener->metrics, other) {
        if (!wrong && strcmp(other->name, request->name) == 0) {
            wrong = other->kind != request->kind ? "the same name has another kind already"
                    : has_labels(other, request) ? "it is there already, with the same labels"
                                                 : NULL;
        }
    }
    return wrong;
}

/* -- life ------------------------------------------------------------------ */

static void metric_free(struct berth_metric *metric) {
    for (uint32_t i = 0; metric->labels && i < metric->label_count; i++) {
        alloc_free((char *)(uintptr_t)metric->labels[i].key);
        alloc_free((char *)(uintptr_t)metric->labels[i].value);
    }
    alloc_free(metric->labels);
    alloc_free(metric->bounds);
    alloc_free(metric->numbers);
    alloc_free(metric->name);
    alloc_free(metric->help);
    alloc_free(metric);
}

static bool copy_labels(struct berth_metric *metric, const struct berth_metric_request *request) {
    if (request->label_count == 0) {
        return true;
    }
    metric->labels = alloc_array(request->label_count, sizeof(*metric->labels));
    metric->label_count = metric->labels ? request->label_count : 0;
    bool copied = metric->labels != NULL;
    for (uint32_t i = 0; copied && i < request->label_count; i++) {
        metric->labels[i].key = alloc_string(request->labels[i].key);
        metric->labels[i].value = alloc_string(request->labels[i].value);
        copied = metric->labels[i].key && metric->labels[i].value;
    }
    return copied;
}

static bool copy_bounds(struct berth_metric *metric, const struct berth_metric_request *request) {
    if (request->bound_count == 0) {
        return true;
    }
    metric->bounds = alloc_array(request->bound_count, sizeof(*metric->bounds));
    if (!metric->bounds) {
        return false;
    }
    memcpy(metric->bounds, request->bounds, request->bound_count * sizeof(*metric->bounds));
    metric->bound_count = request->bound_count;
    return true;
}

/* NULL: no memory. */
static struct berth_metric *metric_new(const struct listener *listener,
                                       const struct berth_metric_request *request) {
    struct berth_metric *metric = alloc_zeroed(sizeof(*metric));
    if (!metric) {
        return NULL;
    }
    uint32_t numbers = request->kind == BERTH_METRIC_HISTOGRAM ? request->bound_count + 2 : 1;
    metric->kind = request->kind;
    metric->shards =
        request->kind == BERTH_METRIC_GAUGE ? 1 : listener->server->options.workers + 1;
    metric->stride = (numbers + LINE_NUMBERS - 1) / LINE_NUMBERS * LINE_NUMBERS;
    metric->numbers =
        alloc_array((size_t)metric->shards * metric->stride, sizeof(*metric->numbers));
    metric->name = alloc_string(request->name);
    metric->help = request->help ? alloc_string(request->help) : NULL;
    if (!metric->numbers || !metric->name || (request->help && !metric->help) ||
        !copy_labels(metric, request) || !copy_bounds(metric, request)) {
        metric_free(metric);
        return NULL;
    }
    return metric;
}

static bool is_in_listener_open(void) {
    return plugin_thread_calls(&plugin_thread) &&
           atomic_load(&plugin_thread.record->callback) == PLUGIN_LISTENER_OPEN;
}

int32_t plugin_metric_create(struct listener *listener, const struct berth_metric_request *request,
                             struct berth_metric **metric, struct berth_error *error) {
    const char *name = request->name ? request->name : "";
    if (!is_in_listener_open()) {
        return berth_error_set(error, BERTH_E_STATE,
                               "metric \"%.64s\": metrics are created in `listener_open`", name);
    }
    if (request->kind < BERTH_METRIC_COUNTER || request->kind > BERTH_METRIC_HISTOGRAM) {
        return berth_error_set(error, BERTH_E_UNSUPPORTED,
                               "metric \"%.64s\": this host does not know its kind, %u", name,
                               (unsigned)request->kind);
    }
    const char *wrong = find_wrong(listener, request);
    if (wrong) {
        return berth_error_set(error, BERTH_E_INVALID, "metric \"%.64s\": %s", name, wrong);
    }
    if (listener->metric_count >= listener->options.metrics_max) {
        return berth_error_set(error, BERTH_E_LIMIT,
                               "metric \"%.64s\": the listener has %u already (limits.metrics)",
                               name, (unsigned)listener->options.metrics_max);
    }
    *metric = metric_new(listener, request);
    if (!*metric) {
        return berth_error_set(error, BERTH_E_NO_MEMORY, "metric \"%.64s\": out of memory", name);
    }
    DL_APPEND(listener->metrics, *metric);
    listener->metric_count++;
    return BERTH_OK;
}

void plugin_metrics_free(struct listener *listener) {
    while (listener->metrics) {
        struct berth_metric *metric = listener->metrics;
        DL_DELETE(listener->metrics, metric);
        metric_free(metric);
    }
    listener->metric_count = 0;
}

/* -- counting -------------------------------------------------------------- */

/* This thread's numbers. */
static atomic_llong *numbers_here(struct berth_metric *metric) {
    uint32_t share = plugin_thread.shard;
    uint32_t shard = share < metric->shards ? share : metric->shards - 1;
    return &metric->numbers[(size_t)shard * metric->stride];
}

void plugin_metric_add(struct berth_metric *metric, int64_t number) {
    if (metric && (metric->kind == BERTH_METRIC_GAUGE ||
                   (metric->kind == BERTH_METRIC_COUNTER && number > 0))) {
        atomic_fetch_add_explicit(numbers_here(metric), number, memory_order_relaxed);
    }
}

void plugin_metric_set(struct berth_metric *metric, int64_t number) {
    if (metric && metric->kind == BERTH_METRIC_GAUGE) {
        atomic_store_explicit(metric->numbers, number, memory_order_relaxed);
    }
}

void plugin_metric_observe(struct berth_metric *metric, int64_t number) {
    if (!metric || metric->kind != BERTH_METRIC_HISTOGRAM) {
        return;
    }
    atomic_llong *numbers = numbers_here(metric);
    uint32_t bucket = 0;
    while (bucket < metric->bound_count && number > metric->bounds[bucket]) {
        bucket++;
    }
    atomic_fetch_add_explicit(&numbers[bucket], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&numbers[metric->bound_count + 1], number, memory_order_relaxed);
}

/* -- reading --------------------------------------------------------------- */

static int64_t plugin_metric_sum(const struct berth_metric *metric, uint32_t index) {
    long long all = 0;
    for (uint32_t i = 0; i < metric->shards; i++) {
        all += atomic_load_explicit(&metric->numbers[(size_t)i * metric->stride + index],
                                    memory_order_relaxed);
    }
    return all;
}

void plugin_metric_read(const struct berth_metric *metric, struct plugin_metric_value *value) {
    bool is_histogram = metric->kind == BERTH_METRIC_HISTOGRAM;
    *value = (struct plugin_metric_value){
        .kind = metric->kind,
        .name = metric->name,
        .help = metric->help,
        .labels = metric->labels,
        .label_count = metric->label_count,
        .number = plugin_metric_sum(metric, is_histogram ? metric->bound_count + 1 : 0),
        .bounds = metric->bounds,
        .bound_count = metric->bound_count,
    };
    for (uint32_t i = 0; is_histogram && i <= metric->bound_count; i++) {
        value->buckets[i] = (uint64_t)plugin_metric_sum(metric, i);
    }
}

const struct berth_metric *plugin_metric_first(const struct listener *listener) {
    return listener->metrics;
}

const struct berth_metric *plugin_metric_next(const struct berth_metric *metric) {
    return metric->next;
}
