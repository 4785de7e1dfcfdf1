#include "manifest/ready.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/alloc.h"

static bool add_listener(cJSON *listeners, const struct ready_listener *listener) {
    cJSON *object = cJSON_AddObjectToObject(listeners, listener->name);
    cJSON *addresses = object ? cJSON_AddArrayToObject(object, "addresses") : NULL;
    if (!addresses) {
        return false;
    }
    for (size_t i = 0; i < listener->address_count; i++) {
        if (!cJSON_AddItemToArray(addresses, cJSON_CreateString(listener->addresses[i]))) {
            return false;
        }
    }
    return cJSON_AddStringToObject(object, "plugin", listener->plugin) &&
           cJSON_AddStringToObject(object, "version", listener->version) &&
           cJSON_AddStringToObject(object, "accept", listener->accept);
}

static bool add_all(cJSON *root, const struct ready *ready) {
    /* A double holds every process id exactly: systems keep them below 2^53. */
    if (!cJSON_AddNumberToObject(root, "pid", (double)ready->pid) ||
        !cJSON_AddStringToObject(root, "name", ready->name) ||
        !cJSON_AddStringToObject(root, "version", ready->version) ||
        !cJSON_AddStringToObject(root, "engine", ready->engine) ||
        !cJSON_AddStringToObject(root, "socket_reuse", ready->socket_reuse)) {
        return false;
    }
    cJSON *listeners = cJSON_AddObjectToObject(root, "listeners");
    if (!listeners) {
        return false;
    }
    for (size_t i = 0; i < ready->listener_count; i++) {
        if (!add_listener(listeners, &ready->listeners[i])) {
            return false;
        }
    }
    return true;
}

char *ready_format(const struct ready *ready) {
    char *copy = NULL;
    cJSON *root = cJSON_CreateObject();
    if (root && add_all(root, ready)) {
        char *text = cJSON_Print(root);
        copy = text ? alloc_string(text) : NULL;
        cJSON_free(text);
    }
    cJSON_Delete(root);
    return copy;
}

bool ready_read(const char *text, size_t size, struct ready_author *author) {
    cJSON *root = cJSON_ParseWithLength(text, size);
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(root, "name"));
    const cJSON *pid = cJSON_GetObjectItemCaseSensitive(root, "pid");
    bool good = name && cJSON_IsNumber(pid) && pid->valuedouble >= 1 && pid->valuedouble < 1e15;
    *author = (struct ready_author){0};
    if (good) {
        snprintf(author->name, sizeof(author->name), "%s", name);
        author->pid = (uint64_t)pid->valuedouble;
    }
    cJSON_Delete(root);
    return good;
}
