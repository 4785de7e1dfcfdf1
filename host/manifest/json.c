#include "manifest/json.h"

#include <cjson/cJSON.h>
#include <stddef.h>

#include "base/alloc.h"

static _Thread_local bool refused;

static void *take(size_t size) {
    void *memory = alloc_zeroed(size);
    refused = refused || !memory;
    return memory;
}

void json_setup(void) {
    cJSON_Hooks hooks = {.malloc_fn = take, .free_fn = alloc_free};
    cJSON_InitHooks(&hooks);
}

void json_begin(void) {
    refused = false;
}

void json_refuse(void) {
    refused = true;
}

bool json_is_whole(void) {
    return !refused;
}

void json_append(cJSON *list, cJSON *item) {
    if (!cJSON_AddItemToArray(list, item)) {
        cJSON_Delete(item);
    }
}

void json_add(cJSON *object, const char *key, cJSON *item) {
    if (!cJSON_AddItemToObject(object, key, item)) {
        cJSON_Delete(item);
    }
}

char *json_print(const cJSON *item) {
    char *text = refused ? NULL : cJSON_PrintUnformatted(item);
    if (refused) { /* it may have been cut */
        cJSON_free(text);
        return NULL;
    }
    return text;
}
