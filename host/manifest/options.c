#include "manifest/options.h"

#include <string.h>

#include "base/alloc.h"
#include "manifest/option_kinds.h"

enum {
    PENDING_FACTOR = 8
}; /* accept.pending_max is so many times the pool's high water at least */

/* -- the tables of options.def -- */

#define CHOICES_BEGIN(name) static const char *const name##_words[] = {
#define CHOICE_VALUE(value, word) [value] = (word),
#define CHOICES_END(name)                                                                          \
    }                                                                                              \
    ;
#define OPTIONS_CHOICES
#define OPTIONS_LOG_CHOICES
#include "manifest/options.def"

#define NONE 0
#define REQUIRED 0, .required = true
#define FILLED(usual) 0
#define MULTIPLES(value, of) (value), .multiple = (of)
#define AS_HOST MANIFEST_AS_HOST

#define OBJECT_BEGIN(path, name, text)                                                             \
    {                                                                                              \
        .key = #name, .kind = FIELD_OBJECT, .fields = (const struct field[]) {
#define RATE_BEGIN(path, name, text)                                                               \
    {                                                                                              \
        .key = #name, .kind = FIELD_RATE, .fields = (const struct field[]) {
#define OBJECT_END(name)                                                                           \
    { .key = NULL }                                                                                \
    }                                                                                              \
    }                                                                                              \
    ,
#define WHOLE(path, name, low, high, initial, text)                                                \
    {.key = #name,                                                                                 \
     .kind = FIELD_WHOLE,                                                                          \
     .offset = PLACE(path name),                                                                   \
     .least = (low),                                                                               \
     .most = (high),                                                                               \
     .number = initial},
#define WHOLE_OR_AUTO(path, name, low, high, text)                                                 \
    {.key = #name, .kind = FIELD_AUTO, .offset = PLACE(path name), .least = (low), .most = (high)},
#define BOOL(path, name, initial, text)                                                            \
    {.key = #name, .kind = FIELD_BOOL, .offset = PLACE(path name), .number = initial},
#define CHOICE(path, name, type, initial, text)                                                    \
    {.key = #name,                                                                                 \
     .kind = FIELD_CHOICE,                                                                         \
     .offset = PLACE(path name),                                                                   \
     .number = initial,                                                                            \
     .choices = type##_words,                                                                      \
     .choice_count = ARRAY_COUNT(type##_words)},
#define STRING(path, name, initial, text)                                                          \
    {.key = #name, .kind = FIELD_STRING, .offset = PLACE(path name), .string = initial},
#define HOST_NAME(path, name, initial, text)                                                       \
    {.key = #name, .kind = FIELD_HOST_NAME, .offset = PLACE(path name), .string = initial},
#define PLUGIN_ID(path, name, initial, text)                                                       \
    {.key = #name, .kind = FIELD_PLUGIN_ID, .offset = PLACE(path name), .string = initial},
#define NETWORKS(path, name, initial, text)                                                        \
    {.key = #name,                                                                                 \
     .kind = FIELD_NETWORKS,                                                                       \
     .offset = PLACE(path name),                                                                   \
     .count_offset = PLACE(path name##_count),                                                     \
     .number = initial},
#define ADDRESSES(path, name, initial, text)                                                       \
    {.key = #name,                                                                                 \
     .kind = FIELD_ADDRESSES,                                                                      \
     .offset = PLACE(path name##es),                                                               \
     .count_offset = PLACE(path name##_count),                                                     \
     .number = initial},
#define CONFIG(path, name, text)                                                                   \
    {.key = #name, .kind = FIELD_CONFIG, .offset = PLACE(path name##_json), .string = "{}"},

#define PLACE(member) offsetof(struct manifest, host.member)
const struct field options_host[] = {
#define OPTIONS_HOST
#include "manifest/options.def"
    {.key = NULL},
};
#undef PLACE

#define PLACE(member) offsetof(struct manifest_listener, member)
const struct field options_listener[] = {
#define OPTIONS_LISTENER
#include "manifest/options.def"
    {.key = NULL},
};
#undef PLACE

#define OPTIONS_END
#include "manifest/options.def"

const char *manifest_engine_name(enum manifest_engine engine) {
    return manifest_engine_words[engine];
}

bool options_log_format(const char *word, size_t size, enum log_format *format) {
    for (size_t i = 0; i < ARRAY_COUNT(log_format_words); i++) {
        if (strlen(log_format_words[i]) == size && memcmp(log_format_words[i], word, size) == 0) {
            *format = (enum log_format)i;
            return true;
        }
    }
    return false;
}

/* -- walks -- */

bool options_set_defaults(const struct field *fields, void *target) {
    bool whole = true;
    for (; fields->key; fields++) {
        const struct option_kind *kind = &option_kinds[fields->kind];
        if (kind->set_default) {
            whole = kind->set_default(fields, target) && whole;
        } else if (fields->fields) {
            whole = options_set_defaults(fields->fields, target) && whole;
        }
    }
    return whole;
}

void options_free(const struct field *fields, void *target) {
    for (; fields->key; fields++) {
        const struct option_kind *kind = &option_kinds[fields->kind];
        if (kind->free) {
            kind->free(fields, target);
        } else if (fields->fields) {
            options_free(fields->fields, target);
        }
    }
}

/* -- listeners -- */

/* Options that are not given follow those that are. */
static void fill_listener(struct manifest_listener *one) {
    uint32_t *initial = &one->accept.pool.initial;
    uint32_t *low = &one->accept.pool.low;
    uint32_t *high = &one->accept.pool.high;
    if (*high == 0) {
        *high = MANIFEST_POOL_HIGH;
        *high = *high > *initial ? *high : *initial;
        *high = *high > *low ? *high : *low;
    }
    if (*initial == 0) {
        *initial = *high < MANIFEST_POOL_LOW ? *high : MANIFEST_POOL_LOW;
    }
    if (*low == 0) {
        *low = *initial < MANIFEST_POOL_LOW ? *initial : MANIFEST_POOL_LOW;
        *low = *low < *high ? *low : *high;
    }
    if (one->accept.pending_max == 0) {
        uint32_t by_pool = *high * PENDING_FACTOR;
        one->accept.pending_max = by_pool > MANIFEST_PENDING ? by_pool : MANIFEST_PENDING;
    }
    if (one->limits.accept_rate_per_client.burst == 0) {
        one->limits.accept_rate_per_client.burst = one->limits.accept_rate_per_client.per_second;
    }
}

static void read_listener(struct checker *checker, struct checked value,
                          struct manifest_listener *one) {
    const char *name = value.item->string;
    *one = (struct manifest_listener){
        .line = json_locations_key(checker->locations, value.pointer).line};
    checker->failed |= !options_set_defaults(options_listener, one);
    one->name = check_copy(checker, name);
    char *json = cJSON_PrintUnformatted(value.item);
    one->json = json ? check_copy(checker, json) : NULL;
    checker->failed |= !json;
    cJSON_free(json);
    if (!manifest_name_valid(name)) {
        check_key_error(checker, value.pointer, "not a listener's name (%s)", option_name_rule);
    }
    check_object(checker, value, options_listener, one);
    fill_listener(one);
}

static void read_listeners(struct checker *checker, struct checked value, void *target) {
    struct manifest *manifest = target;
    char pointer[CHECK_POINTER_MAX];
    if (!cJSON_IsObject(value.item)) {
        check_error(checker, value.pointer, "expected an object, found %s",
                    check_found(value.item));
        return;
    }
    int count = cJSON_GetArraySize(value.item);
    if (count < 1) {
        check_error(checker, value.pointer, "expected at least one listener");
        return;
    }
    if (manifest->listeners) {
        return; /* the key is there twice, which was reported: the first one is checked */
    }
    manifest->listeners = alloc_array((size_t)count, sizeof(*manifest->listeners));
    if (!manifest->listeners) {
        checker->failed = true;
        return;
    }
    for (const cJSON *item = value.item->child; item; item = item->next) {
        check_pointer(pointer, value.pointer, item->string);
        read_listener(checker, (struct checked){item, pointer},
                      &manifest->listeners[manifest->listener_count++]);
    }
}

void options_free_listener(struct manifest_listener *one) {
    alloc_free(one->name);
    alloc_free(one->json);
    options_free(options_listener, one);
}

/* -- the document -- */

static void options_read_version(struct checker *checker, struct checked value, void *target) {
    (void)target;
    if (!cJSON_IsNumber(value.item) || value.item->valuedouble != 1) {
        check_error(checker, value.pointer,
                    "expected 1, the version of the manifest that this host reads");
    }
}

static void options_read_schema(struct checker *checker, struct checked value, void *target) {
    (void)target; /* for editors */
    if (!cJSON_IsString(value.item)) {
        check_error(checker, value.pointer, "expected a string, found %s", check_found(value.item));
    }
}

const struct field options_document[] = {
    {.key = "$schema", .kind = FIELD_OTHER, .read = options_read_schema},
    {.key = "manifest", .kind = FIELD_OTHER, .required = true, .read = options_read_version},
    {.key = "host", .kind = FIELD_OBJECT, .fields = options_host},
    {.key = "listeners", .kind = FIELD_OTHER, .required = true, .read = read_listeners},
    {.key = NULL},
};
