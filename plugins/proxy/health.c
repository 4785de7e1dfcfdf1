/* Health checks: the listener connects to each upstream periodically, independent of clients. All
 * of it runs on the worker of the listener's timer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/proxy.h"

struct health {
    const struct berth_listener *listener;
    const struct berth_connect_host *connect;
    const struct berth_timer_host *timers;
    const struct berth_metrics_host *metrics;
    struct upstreams *upstreams;
};

/* A running check. */
struct check {
    struct health *health;
    struct upstream *upstream;
};

static void health_say(const struct health *health, uint32_t level, const struct upstream *upstream,
                       const char *text) {
    const struct berth_host *host = health->listener->host;
    const struct berth_log_field fields[] = {
        {.key = "upstream",
         .text = upstream->target.host,
         .size = (uint32_t)strlen(upstream->target.host)},
        {.key = "port", .number = upstream->target.port, .kind = BERTH_LOG_NUMBER},
    };
    const struct berth_log_entry entry = {
        .struct_size = sizeof(entry),
        .level = level,
        .listener = health->listener,
        .text = text,
        .fields = fields,
        .size = (uint32_t)strlen(text),
        .field_count = 2,
    };
    host->log_fields(host, &entry);
}

static void health_note(const struct health *health, struct upstream *upstream, bool answers) {
    const struct berth_host *host = health->listener->host;
    health->metrics->set(upstream->is_up, answers ? 1 : 0);
    if (answers) {
        if (upstream_answered(upstream)) {
            health_say(health, BERTH_LOG_INFO, upstream,
                       "health check: the upstream answers again");
        }
        return;
    }
    health->metrics->add(upstream->failures, 1);
    bool is_news = upstream_failed(health->upstreams, upstream, host->now_ms(host));
    if (is_news && health->upstreams->retry_after_ms > 0) {
        health_say(health, BERTH_LOG_WARN, upstream, "health check: the upstream does not answer");
    }
}

static void BERTH_CALL checked(struct berth_conn *conn, int32_t status, void *argument) {
    struct check check = *(struct check *)argument;
    free(argument);
    check.upstream->is_checked = false;
    if (status == BERTH_OK) {
        conn->host->close(conn); /* the check needs no more than the connect */
    }
    if (status != BERTH_E_CANCELLED && status != BERTH_E_NO_MEMORY) {
        health_note(check.health, check.upstream, status == BERTH_OK);
    }
}

static void health_check(struct health *health, struct upstream *upstream) {
    const struct berth_host *host = health->listener->host;
    const struct upstreams *upstreams = health->upstreams;
    const struct berth_address nobody = {0};
    struct check *one = malloc(sizeof(*one));
    struct berth_connect_request request = {
        .struct_size = sizeof(request),
        .timeout_ms = upstreams->connect_timeout_ms,
        .host = upstream->target.host,
        .port = upstream->target.port,
    };
    if (!one || (upstreams->header_version > 0 &&
                 host->buffer_create(host, HEADER_BYTES_MAX, &request.first_data) != BERTH_OK)) {
        free(one);
        return;
    }
    if (upstreams->header_version > 0) {
        request.first_data.size = header_write(host, upstreams->header_version, &nobody, &nobody,
                                               request.first_data.bytes);
    }
    *one = (struct check){health, upstream};
    upstream->is_checked = true;
    if (health->connect->connect_for_listener(health->listener, &request, checked, one) !=
        BERTH_OK) {
        upstream->is_checked = false; /* the next round tries again */
        free(one);
    }
}

static void BERTH_CALL on_timer(struct berth_timer *timer, const struct berth_listener *listener,
                                uint32_t worker, void *argument) {
    struct health *health = argument;
    (void)listener;
    (void)worker;
    for (uint32_t i = 0; i < health->upstreams->count; i++) {
        if (!health->upstreams->items[i].is_checked) {
            health_check(health, &health->upstreams->items[i]);
        }
    }
    health->timers->start(timer, health->upstreams->health_check_ms);
}

static int32_t create_metrics(const struct health *health, struct upstream *upstream,
                              struct berth_error *error) {
    char name[HOST_BYTES_MAX + 16];
    snprintf(name, sizeof(name), "%s:%u", upstream->target.host, (unsigned)upstream->target.port);
    const struct berth_metric_label label = {"upstream", name};
    struct berth_metric_request request = {
        .struct_size = sizeof(request),
        .kind = BERTH_METRIC_GAUGE,
        .name = "upstream_up",
        .help = "1: it answered the last health check",
        .labels = &label,
        .label_count = 1,
    };
    int32_t status = health->metrics->create(health->listener, &request, &upstream->is_up, error);
    if (status == BERTH_OK) {
        request.kind = BERTH_METRIC_COUNTER;
        request.name = "upstream_failures_total";
        request.help = "health checks that it did not answer";
        status = health->metrics->create(health->listener, &request, &upstream->failures, error);
    }
    /* The same address twice has one metric. */
    return status == BERTH_E_INVALID ? BERTH_OK : status;
}

int32_t health_start(struct upstreams *upstreams, const struct berth_listener *listener,
                     struct berth_error *error) {
    const struct berth_host *host = listener->host;
    struct health *health = calloc(1, sizeof(*health));
    if (!health) {
        return berth_error_set(error, BERTH_E_NO_MEMORY, "out of memory");
    }
    upstreams->health = health;
    *health = (struct health){
        .listener = listener,
        .connect = listener->plugin_state,
        .timers = host->query(host, BERTH_TIMER_ID),
        .metrics = host->query(host, BERTH_METRICS_ID),
        .upstreams = upstreams,
    };
    if (!health->timers || !health->metrics) {
        return berth_error_set(error, BERTH_E_UNSUPPORTED,
                               "/health_check_ms: this host has no timers or no metrics");
    }
    for (uint32_t i = 0; i < upstreams->count; i++) {
        int32_t status = create_metrics(health, &upstreams->items[i], error);
        if (status != BERTH_OK) {
            return status;
        }
    }
    struct berth_timer *timer = health->timers->create_for_listener(listener, on_timer, health);
    if (!timer) {
        return berth_error_set(error, BERTH_E_LIMIT,
                               "/health_check_ms: no timer can be had (limits.timers)");
    }
    health->timers->start(timer, 0);
    return BERTH_OK;
}

void health_stop(struct health *health) {
    free(health); /* its timer is the host's */
}
