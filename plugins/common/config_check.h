/* config_check.h: checks of a "config" beyond its schema: whether its paths exist.
 *
 * For `check_config` of the plugins of this folder; compiled into them. Threads: [control]. */
#ifndef BERTH_PLUGINS_COMMON_CONFIG_CHECK_H
#define BERTH_PLUGINS_COMMON_CONFIG_CHECK_H

#include <berth/plugin.h>

#include "common/path_kind.h"

struct cJSON;

/* The config, which conforms to its schema; for cJSON_Delete(). NULL: no memory. */
struct cJSON *config_parse(const struct berth_config_request *request);

/* Adds an error unless the member is the path of an object of this kind. It may be missing.
 */
void config_check_path(const struct berth_config_request *request, const struct cJSON *config,
                       const char *member, enum path_kind wanted,
                       struct berth_config_errors *errors);

/* The same for the parent folder of the path: the file itself may be created later. */
void config_check_parent(const struct berth_config_request *request, const struct cJSON *config,
                         const char *member, struct berth_config_errors *errors);

#endif
