#include <cjson/cJSON.h>
#include <string.h>

#include "base/alloc.h"
#include "manifest/options.h"
#include "os/os.h"

/* What follows `"KEY"`, white space and a colon; NULL: there is none before `end`. */
static const char *after_key(const char *at, const char *end, const char *key) {
    size_t size = strlen(key);
    for (; at && (size_t)(end - at) > size + 2; at++) {
        at = memchr(at, '"', (size_t)(end - at));
        if (at && (size_t)(end - at) > size + 2 && memcmp(at + 1, key, size) == 0 &&
            at[size + 1] == '"') {
            const char *behind = at + size + 2;
            behind += strspn(behind, " \t\r\n");
            if (*behind == ':') {
                return behind + 1 + strspn(behind + 1, " \t\r\n");
            }
        }
        if (!at) {
            return NULL;
        }
    }
    return NULL;
}

/* In a text that is no JSON: the first "log" with an object that has a "format". */
static bool log_format_search(const char *text, size_t size, enum log_format *format) {
    const char *end = text + size;
    const char *log = text;
    while ((log = after_key(log, end, "log")) != NULL) {
        size_t length = strcspn(log, "}");
        const char *value = *log == '{' ? after_key(log, log + length, "format") : NULL;
        if (value && *value == '"') {
            size_t name = strcspn(value + 1, "\"");
            return options_log_format(value + 1, name, format);
        }
    }
    return false;
}

bool manifest_log_format(const char *path, enum log_format *format) {
    char *text = NULL;
    size_t size;
    bool found = false;
    if (!os_file_read(path, MANIFEST_BYTES_MAX, &text, &size, NULL)) {
        return false;
    }
    cJSON *root = cJSON_ParseWithLength(text, size);
    const cJSON *log =
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(root, "host"), "log");
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(log, "format"));
    if (root) {
        found = name && options_log_format(name, strlen(name), format);
    } else {
        found = log_format_search(text, size, format);
    }
    cJSON_Delete(root);
    alloc_free(text);
    return found;
}
