/* plugin_metric.h: the metrics of a plugin (berth/metrics.h).
 *
 * Counters and histograms have a slot for each worker and one for all other threads, which avoids
 * false sharing; a gauge has one slot, as it can be set.
 *
 * Owner: the listener. Threads: creating and freeing [control]; counting [any]; reading any. */
#ifndef BERTH_HOST_PLUGIN_PLUGIN_METRIC_H
#define BERTH_HOST_PLUGIN_PLUGIN_METRIC_H

#include <stdint.h>

#include "berth/metrics.h"

struct listener;

int32_t plugin_metric_create(struct listener *listener, const struct berth_metric_request *request,
                             struct berth_metric **metric, struct berth_error *error);
void plugin_metrics_free(struct listener *listener);

void plugin_metric_add(struct berth_metric *metric, int64_t number);
void plugin_metric_set(struct berth_metric *metric, int64_t number);
void plugin_metric_observe(struct berth_metric *metric, int64_t number);

/* A metric and its value so far. The pointers are owned by the metric. */
struct plugin_metric_value {
    uint32_t kind; /* BERTH_METRIC_* */
    const char *name;
    const char *help; /* or NULL */
    const struct berth_metric_label *labels;
    uint32_t label_count;
    int64_t number; /* of a histogram: the sum of what was counted */
    const int64_t *bounds;
    uint32_t bound_count;
    uint64_t
        buckets[BERTH_METRIC_BOUNDS_MAX + 1]; /* not cumulative; the last is above all bounds */
};
void plugin_metric_read(const struct berth_metric *metric, struct plugin_metric_value *value);

/* The metrics of a listener, in the order of their creation. NULL: there are no more. */
const struct berth_metric *plugin_metric_first(const struct listener *listener);
const struct berth_metric *plugin_metric_next(const struct berth_metric *metric);

#endif
