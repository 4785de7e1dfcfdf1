/* schema_read.c: makes the nodes from a schema's text. A keyword that is not supported is refused
 * here. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/macros.h"
#include "manifest/check.h"
#include "manifest/json.h"
#include "manifest/json_locations.h"
#include "manifest/manifest.h"
#include "manifest/pattern.h"
#include "manifest/schema.h"
#include "manifest/schema_private.h"

static const char dialect[] = "https://json-schema.org/draft/2020-12/schema";

const char *const schema_type_names[SCHEMA_TYPES] = {"null",   "boolean", "object", "array",
                                                     "string", "number",  "integer"};

struct reader {
    struct schema *schema;
    struct json_locations locations;
    struct error *error;
};

/* A value of the schema, and its pointer there. */
struct part {
    const cJSON *item;
    const char *pointer;
};

static struct schema_node *read_node(struct reader *reader, struct part part);

static bool schema_read_refuse(const struct reader *reader, const char *pointer, const char *format,
                               ...) BERTH_PRINTF(3, 4);
static bool schema_read_refuse(const struct reader *reader, const char *pointer, const char *format,
                               ...) {
    char words[512];
    struct json_location location = json_locations_value(&reader->locations, pointer);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(words, sizeof(words), format, arguments);
    va_end(arguments);
    return error_set(reader->error, "%.300s (line %zu, column %zu of the schema): %s",
                     pointer[0] ? pointer : "/", location.line, location.column, words);
}

static bool schema_read_no_memory(const struct reader *reader) {
    return error_set(reader->error, "out of memory");
}

/* -- keywords -------------------------------------------------------------- */

static bool schema_read_types(struct reader *reader, struct schema_node *node, struct part part) {
    bool is_list = cJSON_IsArray(part.item) && part.item->child;
    for (const cJSON *one = is_list ? part.item->child : part.item; one; one = one->next) {
        unsigned bit = 0;
        for (unsigned i = 0; cJSON_IsString(one) && i < SCHEMA_TYPES; i++) {
            bit |= strcmp(one->valuestring, schema_type_names[i]) == 0 ? 1u << i : 0;
        }
        if (bit == 0 || (node->types & bit) != 0) {
            return schema_read_refuse(
                reader, part.pointer,
                bit == 0 ? "expected a type, or a list of them: \"null\", \"boolean\", "
                           "\"object\", \"array\", \"string\", \"number\", \"integer\""
                         : "the type \"%s\" is here twice",
                bit == 0 ? "" : one->valuestring);
        }
        node->types |= bit;
        if (!is_list) {
            break;
        }
    }
    return true;
}

static bool schema_read_number(struct reader *reader, struct part part, double *number) {
    if (!cJSON_IsNumber(part.item) || !isfinite(part.item->valuedouble)) {
        return schema_read_refuse(reader, part.pointer, "expected a number");
    }
    *number = part.item->valuedouble;
    return true;
}

/* If both are given, the narrower one applies; of equal ones, the exclusive one. */
static bool set_minimum(struct reader *reader, struct schema_node *node, struct part part,
                        bool is_out) {
    double number = 0;
    if (!schema_read_number(reader, part, &number)) {
        return false;
    }
    if (!node->has_minimum || number > node->minimum || (number == node->minimum && is_out)) {
        node->has_minimum = true;
        node->minimum = number;
        node->minimum_is_out = is_out;
    }
    return true;
}

static bool set_maximum(struct reader *reader, struct schema_node *node, struct part part,
                        bool is_out) {
    double number = 0;
    if (!schema_read_number(reader, part, &number)) {
        return false;
    }
    if (!node->has_maximum || number < node->maximum || (number == node->maximum && is_out)) {
        node->has_maximum = true;
        node->maximum = number;
        node->maximum_is_out = is_out;
    }
    return true;
}

static bool read_minimum(struct reader *reader, struct schema_node *node, struct part part) {
    return set_minimum(reader, node, part, false);
}

static bool read_exclusive_minimum(struct reader *reader, struct schema_node *node,
                                   struct part part) {
    return set_minimum(reader, node, part, true);
}

static bool read_maximum(struct reader *reader, struct schema_node *node, struct part part) {
    return set_maximum(reader, node, part, false);
}

static bool read_exclusive_maximum(struct reader *reader, struct schema_node *node,
                                   struct part part) {
    return set_maximum(reader, node, part, true);
}

static bool read_multiple(struct reader *reader, struct schema_node *node, struct part part) {
    if (!schema_read_number(reader, part, &node->multiple)) {
        return false;
    }
    return (node->multiple >= 1 && node->multiple == floor(node->multiple)) ||
           schema_read_refuse(reader, part.pointer,
                              "expected a whole number of 1 or more (fractions are not exact)");
}

static bool schema_read_count(struct reader *reader, struct part part, double *count) {
    if (!schema_read_number(reader, part, count)) {
        return false;
    }
    return (*count >= 0 && *count == floor(*count)) ||
           schema_read_refuse(reader, part.pointer, "expected a whole number of 0 or more");
}

static bool read_min_length(struct reader *reader, struct schema_node *node, struct part part) {
    return schema_read_count(reader, part, &node->length.min);
}

static bool read_max_length(struct reader *reader, struct schema_node *node, struct part part) {
    return schema_read_count(reader, part, &node->length.max);
}

static bool read_min_items(struct reader *reader, struct schema_node *node, struct part part) {
    return schema_read_count(reader, part, &node->items_count.min);
}

static bool read_max_items(struct reader *reader, struct schema_node *node, struct part part) {
    return schema_read_count(reader, part, &node->items_count.max);
}

static bool read_min_members(struct reader *reader, struct schema_node *node, struct part part) {
    return schema_read_count(reader, part, &node->members_count.min);
}

static bool read_max_members(struct reader *reader, struct schema_node *node, struct part part) {
    return schema_read_count(reader, part, &node->members_count.max);
}

static bool read_unique(struct reader *reader, struct schema_node *node, struct part part) {
    node->unique = cJSON_IsTrue(part.item);
    return cJSON_IsBool(part.item) ||
           schema_read_refuse(reader, part.pointer, "expected true or false");
}

static bool read_pattern(struct reader *reader, struct schema_node *node, struct part part) {
    struct error error = {0};
    if (!cJSON_IsString(part.item)) {
        return schema_read_refuse(reader, part.pointer,
                                  "expected a regular expression, as a string");
    }
    node->pattern_text = part.item->valuestring;
    node->pattern = pattern_create(node->pattern_text, &error);
    return node->pattern || schema_read_refuse(reader, part.pointer, "%s", error.message);
}

static bool read_enum(struct reader *reader, struct schema_node *node, struct part part) {
    if (!cJSON_IsArray(part.item) || !part.item->child) {
        return schema_read_refuse(reader, part.pointer, "expected a list of one value or more");
    }
    size_t count = (size_t)cJSON_GetArraySize(part.item);
    node->values = part.item;
    node->digests = alloc_array(count, sizeof(*node->digests));
    if (!node->digests) {
        return schema_read_no_memory(reader);
    }
    for (const cJSON *one = part.item->child; one; one = one->next) {
        node->digests[node->digest_count++] = digest_of(&reader->schema->keys, one);
    }
    qsort(node->digests, count, sizeof(*node->digests), digest_compare);
    return true;
}

static bool read_const(struct reader *reader, struct schema_node *node, struct part part) {
    node->constant = part.item;
    node->constant_digest = digest_of(&reader->schema->keys, part.item);
    return true;
}

/* NULL: no memory. */
static struct schema_name *name_of(struct schema_node *node, const char *key) {
    struct schema_name *name;
    HASH_FIND_STR(node->names, key, name);
    if (name) {
        return name;
    }
    name = alloc_zeroed(sizeof(*name));
    if (name) {
        name->key = key;
        HASH_ADD_KEYPTR(hh, node->names, name->key, strlen(key), name);
        if (name->is_lost) {
            alloc_free(name);
            name = NULL;
        }
    }
    return name;
}

static bool read_properties(struct reader *reader, struct schema_node *node, struct part part) {
    char pointer[CHECK_POINTER_MAX];
    if (!cJSON_IsObject(part.item)) {
        return schema_read_refuse(reader, part.pointer, "expected an object of schemas");
    }
    for (const cJSON *one = part.item->child; one; one = one->next) {
        struct schema_name *name = name_of(node, one->string);
        if (!name) {
            return schema_read_no_memory(reader);
        }
        check_pointer(pointer, part.pointer, one->string);
        name->node = read_node(reader, (struct part){one, pointer});
        if (!name->node) {
            return false;
        }
    }
    return true;
}

static bool read_required(struct reader *reader, struct schema_node *node, struct part part) {
    if (!cJSON_IsArray(part.item)) {
        return schema_read_refuse(reader, part.pointer, "expected a list of keys");
    }
    for (const cJSON *one = part.item->child; one; one = one->next) {
        if (!cJSON_IsString(one)) {
            return schema_read_refuse(reader, part.pointer, "expected a list of keys, as strings");
        }
        struct schema_name *name = name_of(node, one->valuestring);
        if (!name) {
            return schema_read_no_memory(reader);
        }
        if (name->required) {
            return schema_read_refuse(reader, part.pointer, "the key \"%.64s\" is here twice",
                                      one->valuestring);
        }
        name->required = true;
        node->required_count++;
    }
    return true;
}

static bool read_additional(struct reader *reader, struct schema_node *node, struct part part) {
    node->additional = read_node(reader, part);
    return node->additional != NULL;
}

static bool read_key_names(struct reader *reader, struct schema_node *node, struct part part) {
    node->key_names = read_node(reader, part);
    return node->key_names != NULL;
}

static bool schema_read_items(struct reader *reader, struct schema_node *node, struct part part) {
    if (cJSON_IsArray(part.item)) {
        return schema_read_refuse(reader, part.pointer, "expected one schema, for all items");
    }
    node->items = read_node(reader, part);
    return node->items != NULL;
}

static bool read_any_of(struct reader *reader, struct schema_node *node, struct part part) {
    char pointer[CHECK_POINTER_MAX];
    char index[24];
    if (!cJSON_IsArray(part.item) || !part.item->child) {
        return schema_read_refuse(reader, part.pointer, "expected a list of one schema or more");
    }
    size_t count = (size_t)cJSON_GetArraySize(part.item);
    node->any_of = alloc_array(count, sizeof(struct schema_node *));
    if (!node->any_of) {
        return schema_read_no_memory(reader);
    }
    for (const cJSON *one = part.item->child; one; one = one->next) {
        snprintf(index, sizeof(index), "%zu", node->any_of_count);
        check_pointer(pointer, part.pointer, index);
        struct schema_node *form = read_node(reader, (struct part){one, pointer});
        if (!form) {
            return false;
        }
        node->any_of[node->any_of_count++] = form;
    }
    return true;
}

/* -- notes, which are of no effect ----------------------------------------- */

static bool read_text_note(struct reader *reader, struct schema_node *node, struct part part) {
    (void)node;
    return cJSON_IsString(part.item) ||
           schema_read_refuse(reader, part.pointer, "expected a string");
}

static bool read_title(struct reader *reader, struct schema_node *node, struct part part) {
    node->title = part.item->valuestring;
    return read_text_note(reader, node, part);
}

static bool read_flag_note(struct reader *reader, struct schema_node *node, struct part part) {
    (void)node;
    return cJSON_IsBool(part.item) ||
           schema_read_refuse(reader, part.pointer, "expected true or false");
}

static bool read_list_note(struct reader *reader, struct schema_node *node, struct part part) {
    (void)node;
    return cJSON_IsArray(part.item) || schema_read_refuse(reader, part.pointer, "expected a list");
}

static bool read_any_note(struct reader *reader, struct schema_node *node, struct part part) {
    (void)reader;
    (void)node;
    (void)part;
    return true;
}

static bool read_dialect(struct reader *reader, struct schema_node *node, struct part part) {
    (void)node;
    if (strcmp(part.pointer, "/$schema") != 0) {
        return schema_read_refuse(reader, part.pointer, "only the whole schema has a \"$schema\"");
    }
    return (cJSON_IsString(part.item) && strcmp(part.item->valuestring, dialect) == 0) ||
           schema_read_refuse(reader, part.pointer, "expected \"%s\"", dialect);
}

/* -- schemas --------------------------------------------------------------- */

static const struct keyword {
    const char *name;
    bool (*read)(struct reader *reader, struct schema_node *node, struct part part);
} keywords[] = {
    {"type", schema_read_types},
    {"enum", read_enum},
    {"const", read_const},
    {"minimum", read_minimum},
    {"maximum", read_maximum},
    {"exclusiveMinimum", read_exclusive_minimum},
    {"exclusiveMaximum", read_exclusive_maximum},
    {"multipleOf", read_multiple},
    {"minLength", read_min_length},
    {"maxLength", read_max_length},
    {"pattern", read_pattern},
    {"items", schema_read_items},
    {"minItems", read_min_items},
    {"maxItems", read_max_items},
    {"uniqueItems", read_unique},
    {"properties", read_properties},
    {"required", read_required},
    {"additionalProperties", read_additional},
    {"propertyNames", read_key_names},
    {"minProperties", read_min_members},
    {"maxProperties", read_max_members},
    {"anyOf", read_any_of},
    {"title", read_title},
    {"description", read_text_note},
    {"$comment", read_text_note},
    {"default", read_any_note},
    {"examples", read_list_note},
    {"deprecated", read_flag_note},
    {"readOnly", read_flag_note},
    {"writeOnly", read_flag_note},
    {"$schema", read_dialect},
};

/* Keywords of the standard that are not in the subset: their error differs from that of an unknown
 * keyword. */
static const char *const foreign[] = {
    "$ref",
    "$defs",
    "$id",
    "$anchor",
    "$dynamicRef",
    "$dynamicAnchor",
    "$vocabulary",
    "definitions",
    "allOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "dependentSchemas",
    "dependentRequired",
    "prefixItems",
    "contains",
    "minContains",
    "maxContains",
    "patternProperties",
    "unevaluatedItems",
    "unevaluatedProperties",
    "format",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
};

static bool refuse_keyword(const struct reader *reader, struct part part) {
    const char *names[ARRAY_COUNT(keywords)];
    for (size_t i = 0; i < ARRAY_COUNT(foreign); i++) {
        if (strcmp(part.item->string, foreign[i]) == 0) {
            return schema_read_refuse(
                reader, part.pointer,
                "\"%s\" is not in the subset of JSON Schema that Berth enforces", foreign[i]);
        }
    }
    for (size_t i = 0; i < ARRAY_COUNT(keywords); i++) {
        names[i] = keywords[i].name;
    }
    const char *nearest = manifest_suggest(part.item->string, names, ARRAY_COUNT(names));
    return schema_read_refuse(
        reader, part.pointer,
        "\"%.64s\" is no keyword of JSON Schema%s%s%s; notes of your own begin with "
        "\"x-\"",
        part.item->string, nearest ? " (did you mean \"" : "", nearest ? nearest : "",
        nearest ? "\"?)" : "");
}

static bool read_keyword(struct reader *reader, struct schema_node *node, struct part part) {
    for (size_t i = 0; i < ARRAY_COUNT(keywords); i++) {
        if (strcmp(part.item->string, keywords[i].name) == 0) {
            return keywords[i].read(reader, node, part);
        }
    }
    return strncmp(part.item->string, "x-", 2) == 0 || refuse_keyword(reader, part);
}

static void free_node(struct schema_node *node) {
    struct schema_name *name;
    struct schema_name *next;
    if (!node) {
        return;
    }
    HASH_ITER(hh, node->names, name, next) {
        HASH_DEL(node->names, name);
        free_node(name->node);
        alloc_free(name);
    }
    for (size_t i = 0; i < node->any_of_count; i++) {
        free_node(node->any_of[i]);
    }
    alloc_free(node->any_of);
    alloc_free(node->digests);
    pattern_destroy(node->pattern);
    free_node(node->additional);
    free_node(node->key_names);
    free_node(node->items);
    alloc_free(node);
}

static struct schema_node *read_node(struct reader *reader, struct part part) {
    static const struct schema_bounds none = {-1, -1};
    char pointer[CHECK_POINTER_MAX];
    if (!cJSON_IsObject(part.item) && !cJSON_IsBool(part.item)) {
        schema_read_refuse(reader, part.pointer, "expected a schema: an object, true or false");
        return NULL;
    }
    struct schema_node *node = alloc_zeroed(sizeof(*node));
    if (!node) {
        schema_read_no_memory(reader);
        return NULL;
    }
    node->refuses_all = cJSON_IsFalse(part.item);
    node->length = none;
    node->items_count = none;
    node->members_count = none;
    for (const cJSON *one = part.item->child; one; one = one->next) {
        check_pointer(pointer, part.pointer, one->string);
        if (!read_keyword(reader, node, (struct part){one, pointer})) {
            free_node(node);
            return NULL;
        }
    }
    return node;
}

/* -- the text -------------------------------------------------------------- */

static void schema_read_on_syntax(void *context, struct json_location location, const char *pointer,
                                  const char *message) {
    struct error *error = context;
    if (error->message[0] == '\0') {
        error_set(error, "%.300s (line %zu, column %zu of the schema): %s",
                  pointer[0] ? pointer : "/", location.line, location.column, message);
    }
}

static bool schema_read_text(struct reader *reader, const char *text, size_t size) {
    struct error syntax = {0};
    bool read = json_locations_init(&reader->locations, text, size, SCHEMA_DEPTH_MAX,
                                    schema_read_on_syntax, &syntax);
    if (reader->locations.failed) {
        return schema_read_no_memory(reader);
    }
    if (!read || syntax.message[0] != '\0') { /* a duplicate key sets the message only */
        return error_set(reader->error, "%s", syntax.message);
    }
    reader->schema->tree = cJSON_ParseWithLength(text, size);
    if (!reader->schema->tree) {
        return schema_read_no_memory(reader);
    }
    reader->schema->root = read_node(reader, (struct part){reader->schema->tree, ""});
    return reader->schema->root != NULL;
}

struct schema *schema_create(const char *text, struct error *error) {
    struct error why = {0};
    struct reader reader = {.schema = alloc_zeroed(sizeof(*reader.schema)), .error = &why};
    size_t size = strnlen(text, SCHEMA_BYTES_MAX + 1);
    json_setup();
    bool read = false;
    if (!reader.schema) {
        error_set(&why, "out of memory");
    } else if (size > SCHEMA_BYTES_MAX) {
        error_set(&why, "it has more than %zu bytes", SCHEMA_BYTES_MAX);
    } else {
        digest_keys_init(&reader.schema->keys);
        read = schema_read_text(&reader, text, size);
    }
    json_locations_fini(&reader.locations);
    if (!read) {
        error_set(error, "its config_schema_json is refused: %s", why.message);
        schema_destroy(reader.schema);
        return NULL;
    }
    return reader.schema;
}

void schema_destroy(struct schema *schema) {
    if (schema) {
        free_node(schema->root);
        cJSON_Delete(schema->tree);
        alloc_free(schema);
    }
}
