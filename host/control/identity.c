#include "control/identity.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "control/requests.h"
#include "engine/engine.h"

enum { ANSWER_BYTES_MAX = 65536 };

bool identity_describe(const struct identity *identity, cJSON *object) {
    return cJSON_AddStringToObject(object, "name", identity->name) &&
           cJSON_AddNumberToObject(object, "pid", (double)identity->pid) &&
           cJSON_AddStringToObject(object, "manifest", identity->manifest) &&
           cJSON_AddStringToObject(object, "state", identity->stopping ? "stopping" : "serving");
}

static const char *identity_text_of(const cJSON *object, const char *key) {
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));
    return text ? text : "";
}

bool identity_read(struct identity *identity, const cJSON *object) {
    const cJSON *pid = cJSON_GetObjectItemCaseSensitive(object, "pid");
    *identity = (struct identity){0};
    snprintf(identity->name, sizeof(identity->name), "%s", identity_text_of(object, "name"));
    snprintf(identity->manifest, sizeof(identity->manifest), "%s",
             identity_text_of(object, "manifest"));
    identity->stopping = strcmp(identity_text_of(object, "state"), "stopping") == 0;
    bool numbered = cJSON_IsNumber(pid) && pid->valuedouble >= 1 && pid->valuedouble < 1e15;
    identity->pid = numbered ? (uint64_t)pid->valuedouble : 0;
    return numbered && identity->name[0] != '\0';
}

/* Reads a line, without its line end, within the time; false: there was none. */
static bool identity_read_line(struct os_pipe *pipe, char *line, size_t size, uint64_t end_ms) {
    size_t filled = 0;
    while (filled < size) {
        uint64_t now_ms = engine_now_ms();
        int64_t got = now_ms < end_ms
                          ? os_pipe_read(pipe, line + filled, size - filled, (int)(end_ms - now_ms))
                          : -1;
        if (got <= 0) {
            return false;
        }
        char *end = memchr(line + filled, '\n', (size_t)got);
        filled += (size_t)got;
        if (end) {
            *end = '\0';
            return true;
        }
    }
    return false;
}

bool identity_ask(struct os_pipe *pipe, int timeout_ms, struct identity *identity) {
    static const char request[] = IDENTITY_REQUEST "\n";
    uint64_t end_ms = engine_now_ms() + (uint64_t)timeout_ms;
    char *line = alloc_zeroed(ANSWER_BYTES_MAX);
    bool known = false;
    if (line && os_pipe_write(pipe, request, sizeof(request) - 1, timeout_ms) &&
        identity_read_line(pipe, line, ANSWER_BYTES_MAX, end_ms)) {
        cJSON *answer = cJSON_Parse(line);
        known = identity_read(identity, cJSON_GetObjectItemCaseSensitive(answer, "host"));
        cJSON_Delete(answer);
    }
    alloc_free(line);
    return known;
}

bool identity_of_name(const char *name, int timeout_ms, struct identity *identity) {
    struct os_pipe *pipe = os_pipe_connect(name, NULL);
    bool known = pipe && identity_ask(pipe, timeout_ms, identity);
    os_pipe_close(pipe);
    return known;
}

/* An equal path is enough, because the file may be deleted or replaced by now. The same file is
 * enough as well, whatever path it is reached by. */
bool identity_serves(const struct identity *identity, const char *path) {
    char real[OS_PATH_MAX];
    return identity->manifest[0] != '\0' &&
           ((os_path_real(real, sizeof(real), path) && os_path_same(identity->manifest, real)) ||
            os_file_same(identity->manifest, path));
}
