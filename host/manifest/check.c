#include "manifest/check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "manifest/errors.h"

enum { KEYS_MAX = 32 };

void check_error(struct checker *checker, const char *pointer, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    struct place place = places_value(checker->places, pointer);
    checker->failed |= !errors_add(checker->errors, place, pointer, format, arguments);
    va_end(arguments);
}

void check_key_error(struct checker *checker, const char *pointer, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    struct place place = places_key(checker->places, pointer);
    checker->failed |= !errors_add(checker->errors, place, pointer, format, arguments);
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

/* -- kinds of values ------------------------------------------------------------------------------
 */

static void read_whole(struct checker *checker, struct checked value, const struct field *field,
                       void *target) {
    double number = cJSON_IsNumber(value.item) ? value.item->valuedouble : NAN;
    if (!cJSON_IsNumber(value.item)) {
        check_error(checker, value.pointer, "expected a whole number from %u to %u, found %s",
                    (unsigned)field->min, (unsigned)field->max, check_found(value.item));
    } else if (number != floor(number) || number < field->min || number > field->max) {
        check_error(checker, value.pointer, "expected a whole number from %u to %u, found %.17g",
                    (unsigned)field->min, (unsigned)field->max, number);
    } else if (field->multiple > 1 && (uint32_t)number % field->multiple != 0) {
        check_error(checker, value.pointer, "expected a multiple of %u, found %.17g",
                    (unsigned)field->multiple, number);
    } else {
        uint32_t whole = (uint32_t)number;
        memcpy(target, &whole, sizeof(whole));
    }
}

static void read_bool(struct checker *checker, struct checked value, void *target) {
    if (!cJSON_IsBool(value.item)) {
        check_error(checker, value.pointer, "expected true or false, found %s",
                    check_found(value.item));
        return;
    }
    bool truth = cJSON_IsTrue(value.item);
    memcpy(target, &truth, sizeof(truth));
}

static void list_choices(char *text, size_t size, const struct field *field) {
    size_t length = 0;
    text[0] = '\0';
    for (size_t i = 0; i < field->choice_count && length < size; i++) {
        length += (size_t)snprintf(text + length, size - length, "%s\"%s\"", i > 0 ? " or " : "",
                                   field->choices[i]);
    }
}

static void read_choice(struct checker *checker, struct checked value, const struct field *field,
                        void *target) {
    char choices[160];
    list_choices(choices, sizeof(choices), field);
    if (!cJSON_IsString(value.item)) {
        check_error(checker, value.pointer, "expected %s, found %s", choices,
                    check_found(value.item));
        return;
    }
    const char *word = value.item->valuestring;
    for (size_t i = 0; i < field->choice_count; i++) {
        if (strcmp(word, field->choices[i]) == 0) {
            int choice = (int)i;
            memcpy(target, &choice, sizeof(choice));
            return;
        }
    }
    const char *nearest = manifest_nearest(word, field->choices, field->choice_count);
    check_error(checker, value.pointer, "expected %s, found \"%.64s\"%s%s%s", choices, word,
                nearest ? " (did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?)" : "");
}

static void read_text(struct checker *checker, struct checked value, void *target) {
    char *old;
    if (!cJSON_IsString(value.item) || value.item->valuestring[0] == '\0') {
        check_error(checker, value.pointer, "expected a string that is not empty, found %s",
                    cJSON_IsString(value.item) ? "an empty one" : check_found(value.item));
        return;
    }
    char *copy = check_copy(checker, value.item->valuestring);
    memcpy(&old, target, sizeof(old));
    alloc_free(old);
    memcpy(target, &copy, sizeof(copy));
}

void check_field(struct checker *checker, struct checked value, const struct field *field,
                 void *target) {
    void *member = (char *)target + field->offset;
    switch (field->kind) {
    case FIELD_WHOLE:
        read_whole(checker, value, field, member);
        break;
    case FIELD_BOOL:
        read_bool(checker, value, member);
        break;
    case FIELD_CHOICE:
        read_choice(checker, value, field, member);
        break;
    case FIELD_TEXT:
        read_text(checker, value, member);
        break;
    case FIELD_OBJECT:
        check_object(checker, value, field->fields, field->field_count, target);
        break;
    case FIELD_OTHER:
        field->read(checker, value, target);
        break;
    }
}

/* -- objects -------------------------------------------------------------------------------------
 */

static const struct field *find_field(const struct field *fields, size_t count, const char *key) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(fields[i].key, key) == 0) {
            return &fields[i];
        }
    }
    return NULL;
}

static void unknown_key(struct checker *checker, const char *pointer, const char *key,
                        const struct field *fields, size_t count) {
    const char *keys[KEYS_MAX];
    for (size_t i = 0; i < count && i < KEYS_MAX; i++) {
        keys[i] = fields[i].key;
    }
    const char *nearest = manifest_nearest(key, keys, count < KEYS_MAX ? count : KEYS_MAX);
    if (nearest) {
        check_key_error(checker, pointer, "unknown key (did you mean \"%s\"?)", nearest);
        return;
    }
    char known[512];
    size_t length = 0;
    for (size_t i = 0; i < count && length < sizeof(known); i++) {
        length += (size_t)snprintf(known + length, sizeof(known) - length, "%s\"%s\"",
                                   i > 0 ? ", " : "", fields[i].key);
    }
    check_key_error(checker, pointer, "unknown key; known here: %s", known);
}

void check_object(struct checker *checker, struct checked value, const struct field *fields,
                  size_t field_count, void *target) {
    char pointer[CHECK_POINTER_MAX];
    if (!cJSON_IsObject(value.item)) {
        check_error(checker, value.pointer, "expected an object, found %s",
                    check_found(value.item));
        return;
    }
    for (const cJSON *item = value.item->child; item; item = item->next) {
        const struct field *field = find_field(fields, field_count, item->string);
        check_pointer(pointer, value.pointer, item->string);
        if (field) {
            check_field(checker, (struct checked){item, pointer}, field, target);
        } else {
            unknown_key(checker, pointer, item->string, fields, field_count);
        }
    }
    for (size_t i = 0; i < field_count; i++) {
        if (fields[i].required && !cJSON_GetObjectItemCaseSensitive(value.item, fields[i].key)) {
            check_error(checker, value.pointer, "the key \"%s\" is missing", fields[i].key);
        }
    }
}
