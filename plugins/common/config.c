#include "common/config.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIST_MAX = 512, PATH_BYTES_MAX = 4096 };

static int32_t config_read_number(const cJSON *value, const struct config_member *member,
                                  struct berth_error *error) {
    double found = cJSON_IsNumber(value) ? value->valuedouble : -1;
    if (!(found >= member->min && found <= member->max) || found != (double)(uint32_t)found) {
        return berth_error_set(error, BERTH_E_INVALID, "/%s: expected a whole number from %u to %u",
                               member->name, (unsigned)member->min, (unsigned)member->max);
    }
    *(uint32_t *)member->target = (uint32_t)found;
    return BERTH_OK;
}

static int32_t config_read_text(const cJSON *value, const struct config_member *member,
                                struct berth_error *error) {
    size_t size = cJSON_IsString(value) ? strlen(value->valuestring) : 0;
    if (size < 1 || size > member->max) {
        return berth_error_set(error, BERTH_E_INVALID, "/%s: expected %s, of 1 to %u bytes",
                               member->name, member->expected, (unsigned)member->max);
    }
    char *copy = malloc(size + 1);
    if (!copy) {
        return berth_error_set(error, BERTH_E_NO_MEMORY, "out of memory");
    }
    memcpy(copy, value->valuestring, size + 1);
    char **target = member->target;
    free(*target);
    *target = copy;
    return BERTH_OK;
}

/* "one", "two" or "three" */
static void list_words(const char *const *words, char text[LIST_MAX]) {
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; words[i] && used < LIST_MAX; i++) {
        const char *between = i == 0 ? "" : words[i + 1] ? ", " : " or ";
        used += (size_t)snprintf(text + used, LIST_MAX - used, "%s\"%s\"", between, words[i]);
    }
}

static int32_t config_read_word(const cJSON *value, const struct config_member *member,
                                struct berth_error *error) {
    char list[LIST_MAX];
    for (uint32_t i = 0; cJSON_IsString(value) && member->words[i]; i++) {
        if (strcmp(value->valuestring, member->words[i]) == 0) {
            *(uint32_t *)member->target = i;
            return BERTH_OK;
        }
    }
    list_words(member->words, list);
    return berth_error_set(error, BERTH_E_INVALID, "/%s: expected %s", member->name, list);
}

static int32_t read_flag(const cJSON *value, const struct config_member *member,
                         struct berth_error *error) {
    if (!cJSON_IsBool(value)) {
        return berth_error_set(error, BERTH_E_INVALID, "/%s: expected true or false", member->name);
    }
    *(bool *)member->target = cJSON_IsTrue(value);
    return BERTH_OK;
}

static int32_t config_resolve(const struct berth_host *host, const struct config_member *member,
                              struct berth_error *error) {
    char **target = member->target;
    char *path = malloc(PATH_BYTES_MAX);
    if (!path) {
        return berth_error_set(error, BERTH_E_NO_MEMORY, "out of memory");
    }
    if (host->path_resolve(host, *target, path, PATH_BYTES_MAX) != BERTH_OK) {
        free(path);
        return berth_error_set(error, BERTH_E_INVALID, "/%s: the path is too long", member->name);
    }
    free(*target);
    *target = path;
    return BERTH_OK;
}

static int32_t config_read_member(const struct berth_host *host, const cJSON *value,
                                  const struct config_member *member, struct berth_error *error) {
    int32_t status;
    switch (member->kind) {
    case CONFIG_NUMBER:
        return config_read_number(value, member, error);
    case CONFIG_TEXT:
        return config_read_text(value, member, error);
    case CONFIG_WORD:
        return config_read_word(value, member, error);
    case CONFIG_FLAG:
        return read_flag(value, member, error);
    case CONFIG_PATH:
        status = config_read_text(value, member, error);
        return status == BERTH_OK ? config_resolve(host, member, error) : status;
    case CONFIG_OWN:
        break;
    }
    return member->read(value, member->target, error);
}

static int32_t config_unknown_key(const char *name, const struct config_member *members,
                                  size_t count, struct berth_error *error) {
    char list[LIST_MAX] = "none";
    size_t used = 0;
    for (size_t i = 0; i < count && used < LIST_MAX; i++) {
        used += (size_t)snprintf(list + used, LIST_MAX - used, "%s%s", i == 0 ? "" : ", ",
                                 members[i].name);
    }
    return berth_error_set(error, BERTH_E_INVALID, "/%s: unknown key; known here: %s", name, list);
}

static int32_t config_read_all(const struct berth_host *host, const cJSON *config,
                               const struct config_member *members, size_t count,
                               struct berth_error *error) {
    for (const cJSON *value = config->child; value; value = value->next) {
        size_t i = 0;
        while (i < count && strcmp(members[i].name, value->string) != 0) {
            i++;
        }
        int32_t status = i < count ? config_read_member(host, value, &members[i], error)
                                   : config_unknown_key(value->string, members, count, error);
        if (status != BERTH_OK) {
            return status;
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (members[i].required && !cJSON_GetObjectItemCaseSensitive(config, members[i].name)) {
            return berth_error_set(error, BERTH_E_INVALID, "/%s: expected %s", members[i].name,
                                   members[i].expected);
        }
    }
    return BERTH_OK;
}

int32_t config_read(const struct berth_listener *listener, const struct config_member *members,
                    size_t count, struct berth_error *error) {
    cJSON *config = cJSON_Parse(listener->config_json);
    if (!config) { /* the manifest was checked, so it is JSON */
        return berth_error_set(error, BERTH_E_NO_MEMORY, "out of memory");
    }
    int32_t status = config_read_all(listener->host, config, members, count, error);
    cJSON_Delete(config);
    return status;
}
