#include "common/config_check.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES_MAX = 4096, TEXT_BYTES_MAX = 512 };

cJSON *config_parse(const struct berth_config_request *request) {
    return cJSON_Parse(request->config_json);
}

static void config_check_add(struct berth_config_errors *errors, const char *member,
                             const char *path, const char *what) {
    char pointer[64];
    char text[TEXT_BYTES_MAX];
    snprintf(pointer, sizeof(pointer), "/%s", member);
    snprintf(text, sizeof(text), "%.400s %s", path, what);
    errors->add(errors, pointer, text);
}

/* The member as an absolute path, which the caller frees; NULL: there is none, or no memory. */
static char *config_check_resolve(const struct berth_config_request *request, const cJSON *config,
                                  const char *member, struct berth_config_errors *errors) {
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(config, member);
    char *path = cJSON_IsString(value) ? malloc(PATH_BYTES_MAX) : NULL;
    if (path && request->host->path_resolve(request->host, value->valuestring, path,
                                            PATH_BYTES_MAX) != BERTH_OK) {
        config_check_add(errors, member, value->valuestring, "is too long for a path");
        free(path);
        return NULL;
    }
    return path;
}

void config_check_path(const struct berth_config_request *request, const cJSON *config,
                       const char *member, enum path_kind wanted,
                       struct berth_config_errors *errors) {
    char *path = config_check_resolve(request, config, member, errors);
    enum path_kind found = path ? path_kind(path) : wanted;
    if (found != wanted) {
        bool folder = wanted == PATH_FOLDER;
        config_check_add(errors, member, path,
                         found == PATH_NOTHING ? "is not there"
                         : folder              ? "is a file, and a folder is expected"
                                               : "is a folder, and a file is expected");
    }
    free(path);
}

void config_check_parent(const struct berth_config_request *request, const cJSON *config,
                         const char *member, struct berth_config_errors *errors) {
    char *path = config_check_resolve(request, config, member, errors);
    char *last = NULL;
    for (char *at = path; at && *at; at++) {
        last = *at == '/' || *at == '\\' ? at : last;
    }
    if (last && last != path && last[-1] != ':') { /* the root is there */
        *last = '\0';
        if (path_kind(path) != PATH_FOLDER) {
            config_check_add(errors, member, path, "is no folder, and the file is to be in it");
        }
    }
    free(path);
}
