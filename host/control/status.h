/* status.h: a running host, described as JSON for `berth status`, `listeners` and `plugins`.
 *
 * Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_STATUS_H
#define BERTH_HOST_CONTROL_STATUS_H

struct cJSON;
struct listener;
struct service;

/* Adds its members. What there is no memory for is left out. */
void status_describe(const struct service *service, struct cJSON *status);
void status_describe_listeners(const struct service *service, struct cJSON *status);
void status_describe_plugins(const struct service *service, struct cJSON *status);

/* What the listener's plugin counts. */
void status_add_metrics(struct cJSON *object, const struct listener *listener);

#endif
