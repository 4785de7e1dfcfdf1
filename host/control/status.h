/* status.h: a running host, described as JSON for `berth status`, `listeners` and `plugins`.
 *
 * Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_STATUS_H
#define BERTH_HOST_CONTROL_STATUS_H

struct cJSON;
struct listener;
struct service;

/* Adds the members. Members without memory for them are left out. */
void status_describe(const struct service *service, struct cJSON *status);
void status_describe_listeners(const struct service *service, struct cJSON *status);
void status_describe_plugins(const struct service *service, struct cJSON *status);

/* Adds the metrics that the listener's plugin defines. */
void status_add_metrics(struct cJSON *object, const struct listener *listener);

#endif
