/* schema_whole.c: the manifest's schema with the parts of plugins in it. */
#include <cjson/cJSON.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "manifest/json.h"
#include "manifest/schema.h"

/* config/berth.schema.json, ended by a zero; made by embed.py. */
extern const unsigned char schema_of_host[];

static cJSON *object_with(const char *key, cJSON *value) {
    cJSON *object = cJSON_CreateObject();
    json_add(object, key, value);
    return object;
}

static cJSON *schema_whole_list_of(const char *text) {
    cJSON *list = cJSON_CreateArray();
    json_append(list, cJSON_CreateString(text));
    return list;
}

/* Whether a listener of the plugin must have a "config": an empty one does not fit. */
static bool needs_config(const char *json) {
    char words[8];
    struct schema *schema = schema_create(json, NULL);
    bool needs = schema && !schema_check_text(schema, "{}", words, sizeof(words));
    schema_destroy(schema);
    return needs;
}

/* {"if": the plugin is this one, "then": its config fits}. */
static cJSON *rule_of(const struct schema_part *part) {
    cJSON *rule = cJSON_CreateObject();
    cJSON *condition =
        object_with("properties",
                    object_with("plugin", object_with("const", cJSON_CreateString(part->plugin))));
    json_add(condition, "required", schema_whole_list_of("plugin"));
    cJSON *schema = cJSON_Parse(part->json);
    cJSON_DeleteItemFromObjectCaseSensitive(schema, "$schema"); /* the whole one's counts */
    cJSON *consequence = object_with("properties", object_with("config", schema));
    if (needs_config(part->json)) {
        json_add(consequence, "required", schema_whole_list_of("config"));
    }
    json_add(rule, "if", condition);
    json_add(rule, "then", consequence);
    return rule;
}

char *schema_of_manifest(const struct schema_part *parts, size_t count) {
    json_setup();
    json_begin();
    cJSON *whole = cJSON_Parse((const char *)schema_of_host);
    cJSON *definitions = cJSON_GetObjectItemCaseSensitive(whole, "$defs");
    cJSON *listener = cJSON_GetObjectItemCaseSensitive(definitions, "listener");
    cJSON *properties = cJSON_GetObjectItemCaseSensitive(listener, "properties");
    cJSON *plugin = cJSON_GetObjectItemCaseSensitive(properties, "plugin");
    ASSERT(plugin || !json_is_whole());
    cJSON *names = cJSON_CreateArray();
    cJSON *rules = cJSON_CreateArray();
    for (size_t i = 0; i < count; i++) {
        json_append(names, cJSON_CreateString(parts[i].plugin));
        if (parts[i].json) {
            json_append(rules, rule_of(&parts[i]));
        }
    }
    bool has_rules = cJSON_GetArraySize(rules) > 0; /* an empty "allOf" is none */
    json_add(plugin, "examples", names);
    json_add(has_rules ? listener : NULL, "allOf", rules);
    char *text = json_is_whole() ? cJSON_Print(whole) : NULL;
    cJSON_Delete(whole);
    if (!json_is_whole()) {
        cJSON_free(text);
        return NULL;
    }
    return text;
}
