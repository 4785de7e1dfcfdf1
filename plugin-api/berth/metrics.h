/* metrics.h: the extension "berth.metrics/1": what a plugin counts, for its operator.
 *
 * A metric belongs to a listener. It is created in `listener_open`, shown by "berth status" with
 * its labels, and freed with the listener. Counting is [any], costs some nanoseconds and takes no
 * lock, as every worker has its own counters.
 *
 * Names follow those of Prometheus: [a-z][a-z0-9_]{0,63}, the unit at the end ("_bytes", "_ms"),
 * "_total" after a counter. Numbers are integers: choose a unit that is small enough. */
#ifndef BERTH_METRICS_H
#define BERTH_METRICS_H

#include "connection.h"
#include "status.h"

BERTH_BEGIN_DECLS

#define BERTH_METRICS_ID "berth.metrics/1"

struct berth_metric; /* the host's */

#define BERTH_METRIC_COUNTER UINT32_C(1)   /* never decreases: add() */
#define BERTH_METRIC_GAUGE UINT32_C(2)     /* goes up and down: add(), set() */
#define BERTH_METRIC_HISTOGRAM UINT32_C(3) /* the distribution of values: observe() */

#define BERTH_METRIC_LABELS_MAX UINT32_C(8)
#define BERTH_METRIC_BOUNDS_MAX UINT32_C(32)

/* Never changes its layout. */
struct berth_metric_label {
    const char *key;   /* [a-z][a-z0-9_]{0,31}; not "listener", "plugin", "generation", "le" */
    const char *value; /* at most 255 bytes */
};

/* A request (abi.h). Everything in it is copied. */
struct berth_metric_request {
    uint32_t struct_size;
    uint32_t kind; /* BERTH_METRIC_*; anything else: BERTH_E_UNSUPPORTED */
    const char *name;
    const char *help; /* one line for people; or NULL */
    const struct berth_metric_label *labels;
    const int64_t *bounds; /* of a histogram: each bucket's largest value, increasing; one more
                            * bucket, without a bound, follows. Of others NULL */
    uint32_t label_count;  /* at most BERTH_METRIC_LABELS_MAX */
    uint32_t bound_count;  /* at most BERTH_METRIC_BOUNDS_MAX; of others 0 */
};

struct berth_metrics_host {
    uint32_t struct_size;
    uint32_t reserved;

    /* Creates a metric of the listener, with the value 0, and sets *metric (to NULL on a failure).
     * All metrics of one name have one kind, and different sets of labels. `error` may be NULL. May
     * be called within `listener_open`. BERTH_E_INVALID: a name, a label or a bound is wrong, or
     * the metric exists already; BERTH_E_LIMIT: "limits.metrics"; BERTH_E_UNSUPPORTED: more than
     * this host knows; BERTH_E_STATE: not in `listener_open`; BERTH_E_NO_MEMORY. [control] */
    int32_t(BERTH_CALL *create)(const struct berth_listener *listener,
                                const struct berth_metric_request *request,
                                struct berth_metric **metric, struct berth_error *error);

    /* add() adds to a counter (no negative number) or a gauge, set() sets a gauge, observe() counts
     * a value in a histogram. On a metric of another kind, and on NULL, they do nothing, so a
     * plugin that could not create a metric needs no check. From the return of create() until
     * `listener_close` returns. [any] */
    void(BERTH_CALL *add)(struct berth_metric *metric, int64_t number);
    void(BERTH_CALL *set)(struct berth_metric *metric, int64_t number);
    void(BERTH_CALL *observe)(struct berth_metric *metric, int64_t number);
};

BERTH_END_DECLS

#endif
