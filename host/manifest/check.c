#include "manifest/check.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "manifest/errors.h"
#include "manifest/option_kinds.h"

enum { KEYS_MAX = 32 };

void check_error(struct checker *checker, const char *pointer, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    struct json_location location = json_locations_value(checker->locations, pointer);
    checker->failed |= !errors_add(checker->errors, location, pointer, format, arguments);
    va_end(arguments);
}

void check_key_error(struct checker *checker, const char *pointer, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    struct json_location location = json_locations_key(checker->locations, pointer);
    checker->failed |= !errors_add(checker->errors, location, pointer, format, arguments);
    va_end(arguments);
}

const char *check_found(const cJSON *item) {
    if (cJSON_IsString(item)) {
        return "a string";
    }
    if (cJSON_IsNumber(item)) {
        return "a number";
    }
    if (cJSON_IsBool(item)) {
        return cJSON_IsTrue(item) ? "true" : "false";
    }
    if (cJSON_IsNull(item)) {
        return "null";
    }
    return cJSON_IsArray(item) ? "an array" : "an object";
}

char *check_copy(struct checker *checker, const char *text) {
    char *copy = alloc_string(text);
    checker->failed |= !copy;
    return copy;
}

void check_pointer(char *pointer, const char *parent, const char *token) {
    size_t length = (size_t)snprintf(pointer, CHECK_POINTER_MAX, "%s/", parent);
    length = length < CHECK_POINTER_MAX ? length : CHECK_POINTER_MAX - 1;
    for (; *token && length < CHECK_POINTER_MAX - 2; token++) {
        if (*token == '~' || *token == '/') {
            pointer[length++] = '~';
            pointer[length++] = *token == '~' ? '0' : '1';
        } else {
            pointer[length++] = *token;
        }
    }
    pointer[length] = '\0';
}

/* -- objects --------------------------------------------------------------- */

static const struct field *find_field(const struct field *fields, const char *key) {
    while (fields->key && strcmp(fields->key, key) != 0) {
        fields++;
    }
    return fields->key ? fields : NULL;
}

static void check_unknown_key(struct checker *checker, const char *pointer, const char *key,
                              const struct field *fields) {
    const char *keys[KEYS_MAX];
    size_t count = 0;
    for (; fields[count].key && count < KEYS_MAX; count++) {
        keys[count] = fields[count].key;
    }
    const char *nearest = manifest_suggest(key, keys, count);
    if (nearest) {
        check_key_error(checker, pointer, "unknown key (did you mean \"%s\"?)", nearest);
        return;
    }
    char known[512];
    size_t length = 0;
    for (size_t i = 0; i < count && length < sizeof(known); i++) {
        length += (size_t)snprintf(known + length, sizeof(known) - length, "%s\"%s\"",
                                   i > 0 ? ", " : "", keys[i]);
    }
    check_key_error(checker, pointer, "unknown key; known here: %s", known);
}

void check_object(struct checker *checker, struct checked value, const struct field *fields,
                  void *target) {
    char pointer[CHECK_POINTER_MAX];
    if (!cJSON_IsObject(value.item)) {
        check_error(checker, value.pointer, "expected an object, found %s",
                    check_found(value.item));
        return;
    }
    for (const cJSON *item = value.item->child; item; item = item->next) {
        const struct field *field = find_field(fields, item->string);
        check_pointer(pointer, value.pointer, item->string);
        if (field) {
            option_kinds[field->kind].read(checker, (struct checked){item, pointer}, field, target);
        } else {
            check_unknown_key(checker, pointer, item->string, fields);
        }
    }
    for (size_t i = 0; fields[i].key; i++) {
        if (fields[i].required && !cJSON_GetObjectItemCaseSensitive(value.item, fields[i].key)) {
            check_error(checker, value.pointer, "the key \"%s\" is missing", fields[i].key);
        }
    }
}
