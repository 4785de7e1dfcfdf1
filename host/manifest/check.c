#include "manifest/check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "manifest/errors.h"

enum { KEYS_MAX = 32 };

static void add(struct checker *checker, struct place place, const struct place_node *node,
                const char *format, va_list arguments) {
    char pointer[PLACES_POINTER_MAX];
    places_pointer(node, pointer);
    checker->failed |= !errors_add(checker->errors, place, pointer, format, arguments);
}

void check_error(struct checker *checker, const struct place_node *node, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    add(checker, node->value, node, format, arguments);
    va_end(arguments);
}

void check_key_error(struct checker *checker, const struct place_node *node, const char *format,
                     ...) {
    va_list arguments;
    va_start(arguments, format);
    add(checker, node->key, node, format, arguments);
    va_end(arguments);
}

const char *check_kind(const cJSON *item) {
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

/* Long texts are cut between two characters. */
const char *check_shown(struct shown *shown, struct checked value) {
    size_t size = value.node->size;
    size_t most = sizeof(shown->text) - sizeof("...\"");
    if (cJSON_IsArray(value.item) || cJSON_IsObject(value.item)) {
        return check_kind(value.item);
    }
    if (size <= most) {
        snprintf(shown->text, sizeof(shown->text), "%.*s", (int)size, value.node->text);
        return shown->text;
    }
    while (((unsigned char)value.node->text[most] & 0xc0) == 0x80) {
        most--;
    }
    snprintf(shown->text, sizeof(shown->text), "%.*s...%s", (int)most, value.node->text,
             cJSON_IsString(value.item) ? "\"" : "");
    return shown->text;
}

char *check_copy(struct checker *checker, const char *text) {
    char *copy = alloc_string(text);
    checker->failed |= !copy;
    return copy;
}

/* -- kinds of values --------------------------------------------------------------------------- */

static void read_whole(struct checker *checker, struct checked value, const struct field *field,
                       void *target) {
    struct shown shown;
    double number = cJSON_IsNumber(value.item) ? value.item->valuedouble : NAN;
    if (!cJSON_IsNumber(value.item)) {
        check_error(checker, value.node, "expected a whole number from %u to %u, found %s",
                    (unsigned)field->min, (unsigned)field->max, check_kind(value.item));
    } else if (number != floor(number) || number < field->min || number > field->max) {
        check_error(checker, value.node, "expected a whole number from %u to %u, found %s",
                    (unsigned)field->min, (unsigned)field->max, check_shown(&shown, value));
    } else if (field->multiple > 1 && (uint32_t)number % field->multiple != 0) {
        check_error(checker, value.node, "expected a multiple of %u, found %s",
                    (unsigned)field->multiple, check_shown(&shown, value));
    } else {
        uint32_t whole = (uint32_t)number;
        memcpy(target, &whole, sizeof(whole));
    }
}

static void read_bool(struct checker *checker, struct checked value, void *target) {
    if (!cJSON_IsBool(value.item)) {
        check_error(checker, value.node, "expected true or false, found %s",
                    check_kind(value.item));
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
        check_error(checker, value.node, "expected %s, found %s", choices, check_kind(value.item));
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
    struct shown shown;
    const char *nearest = manifest_nearest(word, field->choices, field->choice_count);
    check_error(checker, value.node, "expected %s, found %s%s%s%s", choices,
                check_shown(&shown, value), nearest ? " (did you mean \"" : "",
                nearest ? nearest : "", nearest ? "\"?)" : "");
}

static void read_text(struct checker *checker, struct checked value, void *target) {
    char *old;
    if (!cJSON_IsString(value.item) || value.item->valuestring[0] == '\0') {
        check_error(checker, value.node, "expected a string that is not empty, found %s",
                    cJSON_IsString(value.item) ? "an empty one" : check_kind(value.item));
        return;
    }
    char *copy = check_copy(checker, value.item->valuestring);
    memcpy(&old, target, sizeof(old));
    alloc_free(old);
    memcpy(target, &copy, sizeof(copy));
}

static void read_field(struct checker *checker, struct checked value, const struct field *field,
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

/* -- objects ----------------------------------------------------------------------------------- */

static const struct field *find_field(const struct field *fields, size_t count, const char *key) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(fields[i].key, key) == 0) {
            return &fields[i];
        }
    }
    return NULL;
}

static void unknown_key(struct checker *checker, const struct place_node *node,
                        const struct field *fields, size_t count) {
    const char *keys[KEYS_MAX] = {0};
    for (size_t i = 0; i < count && i < KEYS_MAX; i++) {
        keys[i] = fields[i].key;
    }
    const char *nearest = manifest_nearest(node->name, keys, count < KEYS_MAX ? count : KEYS_MAX);
    if (nearest) {
        check_key_error(checker, node, "unknown key (did you mean \"%s\"?)", nearest);
        return;
    }
    char known[512];
    size_t length = 0;
    for (size_t i = 0; i < count && length < sizeof(known); i++) {
        length += (size_t)snprintf(known + length, sizeof(known) - length, "%s\"%s\"",
                                   i > 0 ? ", " : "", fields[i].key);
    }
    check_key_error(checker, node, "unknown key; known here: %s", known);
}

void check_object(struct checker *checker, struct checked value, const struct field *fields,
                  size_t field_count, void *target) {
    if (!cJSON_IsObject(value.item)) {
        check_error(checker, value.node, "expected an object, found %s", check_kind(value.item));
        return;
    }
    const struct place_node *node = value.node->first;
    for (const cJSON *item = value.item->child; item; item = item->next, node = node->next) {
        ASSERT(node);
        const struct field *field = find_field(fields, field_count, node->name);
        if (field) {
            read_field(checker, (struct checked){item, node}, field, target);
        } else {
            unknown_key(checker, node, fields, field_count);
        }
    }
    for (size_t i = 0; i < field_count; i++) {
        if (fields[i].required && !places_member(value.node, fields[i].key)) {
            check_error(checker, value.node, "the key \"%s\" is missing", fields[i].key);
        }
    }
}
