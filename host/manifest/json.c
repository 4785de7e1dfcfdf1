#include "manifest/json.h"

#include <cjson/cJSON.h>
#include <string.h>

#include "base/alloc.h"

static _Thread_local bool refused;

static void *json_take(size_t size) {
    void *memory = alloc_zeroed(size);
    refused = refused || !memory;
    return memory;
}

void json_setup(void) {
    cJSON_Hooks hooks = {.malloc_fn = json_take, .free_fn = alloc_free};
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

void json_skip_mark(const char **text, size_t *size) {
    if (*size >= 3 && memcmp(*text, "\xef\xbb\xbf", 3) == 0) {
        *text += 3;
        *size -= 3;
    }
}

cJSON *json_parse(const char *text, size_t size) {
    json_setup(); /* so that tests can make its memory fail */
    json_skip_mark(&text, &size);
    return cJSON_ParseWithLength(text, size);
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
