/* The metrics that plugins define, in the answer of "status". */
#include <cjson/cJSON.h>

#include "base/macros.h"
#include "control/status.h"
#include "manifest/json.h"
#include "net/listen/listener.h"
#include "plugin/plugin_metric.h"

static const char *kind_name(uint32_t kind) {
    return kind == BERTH_METRIC_COUNTER ? "counter"
           : kind == BERTH_METRIC_GAUGE ? "gauge"
                                        : "histogram";
}

/* [[le, count], …]: how many values were no larger, not cumulative; the last bucket has no
 * bound, null. */
static void add_buckets(cJSON *object, const struct plugin_metric_value *value) {
    cJSON *list = cJSON_AddArrayToObject(object, "buckets");
    uint64_t count = 0;
    for (uint32_t i = 0; i <= value->bound_count; i++) {
        cJSON *pair = cJSON_CreateArray();
        json_append(pair, i < value->bound_count ? cJSON_CreateNumber((double)value->bounds[i])
                                                 : cJSON_CreateNull());
        json_append(pair, cJSON_CreateNumber((double)value->buckets[i]));
        json_append(list, pair);
        count += value->buckets[i];
    }
    cJSON_AddNumberToObject(object, "count", (double)count);
    cJSON_AddNumberToObject(object, "sum", (double)value->number);
}

void status_add_metrics(struct cJSON *object, const struct listener *listener) {
    cJSON *list = cJSON_AddArrayToObject(object, "metrics");
    const struct berth_metric *metric = plugin_metric_first(listener);
    for (; metric; metric = plugin_metric_next(metric)) {
        struct plugin_metric_value value;
        cJSON *one = cJSON_CreateObject();
        plugin_metric_read(metric, &value);
        cJSON_AddStringToObject(one, "name", value.name);
        cJSON_AddStringToObject(one, "kind", kind_name(value.kind));
        if (value.help) {
            cJSON_AddStringToObject(one, "help", value.help);
        }
        cJSON *labels = cJSON_AddObjectToObject(one, "labels");
        for (uint32_t i = 0; i < value.label_count; i++) {
            cJSON_AddStringToObject(labels, value.labels[i].key, value.labels[i].value);
        }
        if (value.kind == BERTH_METRIC_HISTOGRAM) {
            add_buckets(one, &value);
        } else {
            cJSON_AddNumberToObject(one, "value", (double)value.number);
        }
        json_append(list, one);
    }
}
