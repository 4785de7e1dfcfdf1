/* config_check.h: what a schema cannot say of a "config": whether its paths lead anywhere.
 *
 * For `check_config` of the plugins of this folder; compiled into them. Threads: [control]. */
#ifndef BERTH_PLUGINS_COMMON_CONFIG_CHECK_H
#define BERTH_PLUGINS_COMMON_CONFIG_CHECK_H

#include <berth/plugin.h>

#include "common/path_kind.h"

struct cJSON;

/* The config, which fits its schema; for cJSON_Delete(). NULL: no memory. */
struct cJSON *config_parse(const struct berth_config_request *request);

/* Adds an error unless there is such a thing at the path that the member is; one that is not there
 * is right. */
void config_check_path(const struct berth_config_request *request, const struct cJSON *config,
                       const char *member, enum path_kind wanted,
                       struct berth_config_errors *errors);

/* The same of the folder that the path is in: the file itself may still be made. */
void config_check_parent(const struct berth_config_request *request, const struct cJSON *config,
                         const char *member, struct berth_config_errors *errors);

#endif
