#include "http/site.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/config.h"
#include "common/config_check.h"
#include "http/types.h"

static int32_t site_no_memory(struct berth_error *error) {
    return berth_error_set(error, BERTH_E_NO_MEMORY, "out of memory");
}

static char *site_copy_text(const char *text) {
    size_t size = strlen(text) + 1;
    char *copy = malloc(size);
    return copy ? memcpy(copy, text, size) : NULL;
}

static int32_t read_root(const cJSON *value, void *target, struct berth_error *error) {
    struct site *site = target;
    const char *path = cJSON_IsString(value) ? value->valuestring : "";
    if (path[0] == '\0' ||
        site->host->path_resolve(site->host, path, site->root, sizeof(site->root)) != BERTH_OK) {
        return berth_error_set(error, BERTH_E_INVALID,
                               "/root: expected the folder to serve, absolute or relative to the "
                               "manifest's");
    }
    struct berth_file *file = NULL;
    int32_t status = site->services->file->open(site->host, site->root, &file, NULL);
    site->services->file->release(file);
    return status == BERTH_E_INVALID /* which is what a folder is */
               ? BERTH_OK
               : berth_error_set(error, BERTH_E_INVALID,
                                 "/root: %s is not a folder that can be read", site->root);
}

static int32_t read_index(const cJSON *value, void *target, struct berth_error *error) {
    struct site *site = target;
    int count = cJSON_IsArray(value) ? cJSON_GetArraySize(value) : INDEXES_MAX + 1;
    if (count > INDEXES_MAX) {
        return berth_error_set(error, BERTH_E_INVALID, "/index: expected an array of 0 to %d names",
                               INDEXES_MAX);
    }
    for (int i = 0; i < INDEXES_MAX; i++) {
        free(site->indexes[i]);
        site->indexes[i] = NULL;
    }
    for (int i = 0; i < count; i++) {
        const cJSON *name = cJSON_GetArrayItem(value, i);
        if (!cJSON_IsString(name) || name->valuestring[0] == '\0' ||
            strpbrk(name->valuestring, "/\\:")) {
            return berth_error_set(error, BERTH_E_INVALID,
                                   "/index/%d: expected the name of a file, like \"index.html\"",
                                   i);
        }
        site->indexes[i] = site_copy_text(name->valuestring);
        if (!site->indexes[i]) {
            return site_no_memory(error);
        }
    }
    return BERTH_OK;
}

/* Whether the text is a valid field value: above all, it must not contain a line end. */
static bool is_printable(const char *text) {
    for (; *text != '\0'; text++) {
        if ((uint8_t)*text < 0x20 || *text == 0x7f) {
            return false;
        }
    }
    return true;
}

static int32_t site_read_types(const cJSON *value, void *target, struct berth_error *error) {
    struct site *site = target;
    for (const cJSON *item = cJSON_IsObject(value) ? value->child : NULL; item; item = item->next) {
        if (item->string[0] == '\0' || item->string[0] == '.' || strchr(item->string, '/')) {
            return berth_error_set(
                error, BERTH_E_INVALID,
                "/types/%s: expected the end of names behind a dot, like \"log\" "
                "or \"tar.gz\"",
                item->string);
        }
        if (!cJSON_IsString(item) || !strchr(item->valuestring, '/') ||
            !is_printable(item->valuestring) || strlen(item->valuestring) > 200 ||
            site->type_count == TYPES_MAX) {
            return berth_error_set(error, BERTH_E_INVALID,
                                   "/types/%s: expected a media type, like \"text/plain\" (%d of "
                                   "them at most)",
                                   item->string, TYPES_MAX);
        }
        char *end = site_copy_text(item->string);
        char *type = site_copy_text(item->valuestring);
        site->ends[site->type_count] = end;
        site->types[site->type_count++] = type;
        if (!end || !type) {
            return site_no_memory(error);
        }
    }
    return cJSON_IsObject(value)
               ? BERTH_OK
               : berth_error_set(error, BERTH_E_INVALID,
                                 "/types: expected an object like {\"log\": \"text/plain\"}");
}

/* Whether a configuration may set this field: not the fields that the server sets, and not those
 * for framing or connection handling. */
static bool is_field_name(const char *name) {
    static const char *const ours[] = {
        "accept-ranges", "allow",
        "connection",    "content-length",
        "content-range", "content-type",
        "date",          "etag",
        "keep-alive",    "last-modified",
        "location",      "retry-after",
        "server",        "te",
        "trailer",       "transfer-encoding",
        "upgrade",
    };
    struct text text = {name, (uint32_t)strlen(name)};
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        if (text_is(text, ours[i])) {
            return false;
        }
    }
    return text_is_token(text);
}

static int32_t site_read_headers(const cJSON *value, void *target, struct berth_error *error) {
    struct site *site = target;
    if (!cJSON_IsObject(value)) {
        return berth_error_set(error, BERTH_E_INVALID,
                               "/headers: expected an object like {\"Cache-Control\": "
                               "\"max-age=60\"}");
    }
    for (const cJSON *item = value->child; item; item = item->next) {
        if (!is_field_name(item->string) || !cJSON_IsString(item) ||
            !is_printable(item->valuestring)) {
            return berth_error_set(error, BERTH_E_INVALID,
                                   "/headers/%s: expected the name of a field that the server does "
                                   "not set itself, and a value on one line",
                                   item->string);
        }
        size_t room = sizeof(site->fields) - site->fields_size;
        int size = snprintf(site->fields + site->fields_size, room, "%s: %s\r\n", item->string,
                            item->valuestring);
        if (size < 0 || (size_t)size >= room) {
            return berth_error_set(error, BERTH_E_INVALID, "/headers: more than %d bytes",
                                   FIELDS_BYTES_MAX);
        }
        site->fields_size += (uint32_t)size;
    }
    return BERTH_OK;
}

static int32_t site_read_config(struct site *site, const struct berth_listener *listener,
                                struct berth_error *error) {
#define NUMBER(key, member, least, most)                                                           \
    { .name = key, .kind = CONFIG_NUMBER, .target = &site->member, .min = least, .max = most }
#define OWN(key, function)                                                                         \
    { .name = key, .kind = CONFIG_OWN, .target = site, .read = function }
    const struct config_member members[] = {
        {.name = "root",
         .kind = CONFIG_OWN,
         .required = true,
         .target = site,
         .expected = "the folder to serve",
         .read = read_root},
        OWN("index", read_index),
        OWN("types", site_read_types),
        OWN("headers", site_read_headers),
        {.name = "access_log", .kind = CONFIG_FLAG, .target = &site->access_log},
        {.name = "dot_files", .kind = CONFIG_FLAG, .target = &site->dot_files},
        NUMBER("head_bytes_max", limits.head_bytes_max, 256, 1048576),
        NUMBER("target_bytes_max", limits.target_bytes_max, 16, 65536),
        NUMBER("fields_max", limits.fields_max, 1, 10000),
        NUMBER("body_bytes_max", body_bytes_max, 0, UINT32_MAX),
        NUMBER("head_timeout_ms", head_timeout_ms, 1, 3600000),
        NUMBER("body_timeout_ms", body_timeout_ms, 1, 3600000),
        NUMBER("keep_alive_timeout_ms", keep_alive_timeout_ms, 1, 3600000),
        NUMBER("cache_ms", cache_ms, 0, 3600000),
        NUMBER("cache_files_max", cache_files_max, 1, 100000),
        NUMBER("cache_file_bytes", cache_file_bytes, 0, 1048576),
    };
#undef NUMBER
#undef OWN
    return config_read(listener, members, sizeof(members) / sizeof(members[0]), error);
}

/* A head must fit into the host's limit of unread bytes. Otherwise the host aborts the connection
 * before the plugin can answer 431. */
static int32_t check_limits(const struct site *site, const struct berth_listener *listener,
                            struct berth_error *error) {
    if (site->limits.head_bytes_max <= listener->message_bytes) {
        return BERTH_OK;
    }
    return berth_error_set(error, BERTH_E_INVALID,
                           "/head_bytes_max: %u is more than the listener's "
                           "\"limits.message_bytes\" (%u): lower the one or raise the other",
                           (unsigned)site->limits.head_bytes_max,
                           (unsigned)listener->message_bytes);
}

int32_t BERTH_CALL site_check_config(const struct berth_config_request *request,
                                     struct berth_config_errors *errors) {
    char pointer[256];
    cJSON *config = config_parse(request);
    if (!config) {
        return BERTH_E_NO_MEMORY;
    }
    config_check_path(request, config, "root", PATH_FOLDER, errors);
    const cJSON *headers = cJSON_GetObjectItemCaseSensitive(config, "headers");
    for (const cJSON *item = headers ? headers->child : NULL; item; item = item->next) {
        if (!is_field_name(item->string)) { /* a token, so it needs no escapes in a pointer */
            snprintf(pointer, sizeof(pointer), "/headers/%.200s", item->string);
            errors->add(errors, pointer,
                        "expected the name of a field that the server does not set itself");
        }
    }
    cJSON_Delete(config);
    return BERTH_OK;
}

struct site *site_create(const struct berth_listener *listener, struct berth_error *error) {
    struct site *site = calloc(1, sizeof(*site));
    if (!site) {
        site_no_memory(error);
        return NULL;
    }
    site->host = listener->host;
    site->services = listener->plugin_state;
    site->limits = (struct request_limits){16384, 8192, 100};
    site->body_bytes_max = 1048576;
    site->head_timeout_ms = 10000;
    site->body_timeout_ms = 30000;
    site->keep_alive_timeout_ms = 60000;
    site->cache_ms = 1000;
    site->cache_files_max = 1024;
    site->cache_file_bytes = 65536;
    site->indexes[0] = site_copy_text("index.html"); /* without memory for it none is served */
    int32_t status = site_read_config(site, listener, error);
    if (status == BERTH_OK) {
        status = check_limits(site, listener, error);
    }
    if (status == BERTH_OK) {
        site->cache = cache_create(listener, site);
        status = site->cache ? BERTH_OK : site_no_memory(error);
    }
    if (status != BERTH_OK) {
        site_destroy(site);
        return NULL;
    }
    return site;
}

void site_destroy(struct site *site) {
    if (site) {
        cache_destroy(site->cache);
        for (uint32_t i = 0; i < INDEXES_MAX; i++) {
            free(site->indexes[i]);
        }
        for (uint32_t i = 0; i < site->type_count; i++) {
            free(site->ends[i]);
            free(site->types[i]);
        }
        free(site);
    }
}

const char *site_type(const struct site *site, const char *name) {
    const char *type = NULL;
    size_t longest = 0; /* "tar.gz" is more specific than "gz" */
    for (uint32_t i = 0; i < site->type_count; i++) {
        size_t size = strlen(site->ends[i]);
        if (size > longest && type_has_end(name, site->ends[i])) {
            type = site->types[i];
            longest = size;
        }
    }
    return type ? type : type_of(name);
}
