#include "manifest/option_kinds.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/address.h"
#include "base/alloc.h"
#include "base/error.h"
#include "os/os.h"

enum { NAME_MAX_BYTES = 63 };

static void *member_of(const struct field *field, void *target) {
    return (char *)target + field->offset;
}

static const void *value_of(const struct field *field, const void *target) {
    return (const char *)target + field->offset;
}

/* -- numbers and choices -- */

static bool number_set_default(const struct field *field, void *target) {
    memcpy(member_of(field, target), &field->number, sizeof(field->number));
    return true;
}

static void whole_read(struct checker *checker, struct checked value, const struct field *field,
                       void *target) {
    double number = cJSON_IsNumber(value.item) ? value.item->valuedouble : NAN;
    if (!cJSON_IsNumber(value.item)) {
        check_error(checker, value.pointer, "expected a whole number from %u to %u, found %s",
                    (unsigned)field->least, (unsigned)field->most, check_found(value.item));
    } else if (number != floor(number) || number < field->least || number > field->most) {
        check_error(checker, value.pointer, "expected a whole number from %u to %u, found %.17g",
                    (unsigned)field->least, (unsigned)field->most, number);
    } else if (field->multiple > 1 && (uint32_t)number % field->multiple != 0) {
        check_error(checker, value.pointer, "expected a multiple of %u, found %.17g",
                    (unsigned)field->multiple, number);
    } else {
        uint32_t whole = (uint32_t)number;
        memcpy(member_of(field, target), &whole, sizeof(whole));
    }
}

/* A number out of range means "not set": NULL. */
static cJSON *whole_show(const struct field *field, const void *target) {
    uint32_t number;
    memcpy(&number, value_of(field, target), sizeof(number));
    return number >= field->least && number <= field->most ? cJSON_CreateNumber(number) : NULL;
}

static void auto_read(struct checker *checker, struct checked value, const struct field *field,
                      void *target) {
    const cJSON *item = value.item;
    uint32_t whole = 0;
    if (cJSON_IsString(item) && strcmp(item->valuestring, "auto") == 0) {
        memcpy(member_of(field, target), &whole, sizeof(whole));
    } else if (cJSON_IsNumber(item) && item->valuedouble == floor(item->valuedouble) &&
               item->valuedouble >= field->least && item->valuedouble <= field->most) {
        whole = (uint32_t)item->valuedouble;
        memcpy(member_of(field, target), &whole, sizeof(whole));
    } else if (cJSON_IsNumber(item)) {
        check_error(checker, value.pointer,
                    "expected \"auto\" or a whole number from %u to %u, found %.17g",
                    (unsigned)field->least, (unsigned)field->most, item->valuedouble);
    } else {
        check_error(checker, value.pointer,
                    "expected \"auto\" or a whole number from %u to %u, found %s",
                    (unsigned)field->least, (unsigned)field->most,
                    cJSON_IsString(item) ? "another string" : check_found(item));
    }
}

static cJSON *auto_show(const struct field *field, const void *target) {
    cJSON *number = whole_show(field, target);
    return number ? number : cJSON_CreateString("auto");
}

static void bool_read(struct checker *checker, struct checked value, const struct field *field,
                      void *target) {
    if (!cJSON_IsBool(value.item)) {
        check_error(checker, value.pointer, "expected true or false, found %s",
                    check_found(value.item));
        return;
    }
    bool truth = cJSON_IsTrue(value.item);
    memcpy(member_of(field, target), &truth, sizeof(truth));
}

static bool bool_set_default(const struct field *field, void *target) {
    bool truth = field->number != 0;
    memcpy(member_of(field, target), &truth, sizeof(truth));
    return true;
}

static cJSON *bool_show(const struct field *field, const void *target) {
    bool truth;
    memcpy(&truth, value_of(field, target), sizeof(truth));
    return cJSON_CreateBool(truth);
}

static void list_choices(char *text, size_t size, const struct field *field) {
    size_t length = 0;
    text[0] = '\0';
    for (size_t i = 0; i < field->choice_count && length < size; i++) {
        length += (size_t)snprintf(text + length, size - length, "%s\"%s\"", i > 0 ? " or " : "",
                                   field->choices[i]);
    }
}

static void choice_read(struct checker *checker, struct checked value, const struct field *field,
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
            memcpy(member_of(field, target), &choice, sizeof(choice));
            return;
        }
    }
    const char *nearest = manifest_suggest(word, field->choices, field->choice_count);
    check_error(checker, value.pointer, "expected %s, found \"%.64s\"%s%s%s", choices, word,
                nearest ? " (did you mean \"" : "", nearest ? nearest : "", nearest ? "\"?)" : "");
}

static cJSON *choice_show(const struct field *field, const void *target) {
    uint32_t choice;
    memcpy(&choice, value_of(field, target), sizeof(choice));
    return cJSON_CreateString(field->choices[choice]);
}

/* -- strings -- */

static const char letters_digits[] =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

const char option_name_rule[] = "a letter or digit, then up to 62 letters, digits and . _ -";

/* A letter or digit, then up to 62 of those and . _ - : safe in files, pipes and pointers. */
bool manifest_name_valid(const char *text) {
    size_t length = strlen(text);
    return length >= 1 && length <= NAME_MAX_BYTES && strchr(letters_digits, text[0]) != NULL &&
           strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
               length;
}

static bool option_kinds_is_plugin_id(const char *id) {
    size_t length = strlen(id);
    return length >= 1 && length <= NAME_MAX_BYTES &&
           strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789-") == length;
}

static void string_free(const struct field *field, void *target) {
    char *text;
    memcpy(&text, member_of(field, target), sizeof(text));
    alloc_free(text);
}

/* A key that is there twice, which was reported, is read twice. */
static void string_replace(struct checker *checker, const char *text, const struct field *field,
                           void *target) {
    string_free(field, target);
    char *copy = text ? check_copy(checker, text) : NULL;
    checker->failed |= !text;
    memcpy(member_of(field, target), &copy, sizeof(copy));
}

static bool string_set_default(const struct field *field, void *target) {
    char *copy = field->string ? alloc_string(field->string) : NULL;
    memcpy(member_of(field, target), &copy, sizeof(copy));
    return copy || !field->string;
}

static cJSON *string_show(const struct field *field, const void *target) {
    char *text;
    memcpy(&text, value_of(field, target), sizeof(text));
    return text ? cJSON_CreateString(text) : NULL;
}

static void string_read(struct checker *checker, struct checked value, const struct field *field,
                        void *target) {
    if (!cJSON_IsString(value.item) || value.item->valuestring[0] == '\0') {
        check_error(checker, value.pointer, "expected a string that is not empty, found %s",
                    cJSON_IsString(value.item) ? "an empty one" : check_found(value.item));
        return;
    }
    string_replace(checker, value.item->valuestring, field, target);
}

static void host_name_read(struct checker *checker, struct checked value, const struct field *field,
                           void *target) {
    if (!cJSON_IsString(value.item) || !manifest_name_valid(value.item->valuestring)) {
        check_error(checker, value.pointer, "expected a name (%s), found %s", option_name_rule,
                    cJSON_IsString(value.item) ? "something else" : check_found(value.item));
        return;
    }
    string_replace(checker, value.item->valuestring, field, target);
}

static void plugin_id_read(struct checker *checker, struct checked value, const struct field *field,
                           void *target) {
    if (!cJSON_IsString(value.item) || !option_kinds_is_plugin_id(value.item->valuestring)) {
        check_error(checker, value.pointer,
                    "expected a plugin's id (1 to 63 of a-z, 0-9 and -; no path, no suffix), found "
                    "%s",
                    cJSON_IsString(value.item) ? "something else" : check_found(value.item));
        return;
    }
    string_replace(checker, value.item->valuestring, field, target);
}

static void config_read(struct checker *checker, struct checked value, const struct field *field,
                        void *target) {
    if (!cJSON_IsObject(value.item)) {
        check_error(checker, value.pointer, "expected an object, found %s",
                    check_found(value.item));
        return;
    }
    char *text = cJSON_PrintUnformatted(value.item);
    string_replace(checker, text, field, target);
    cJSON_free(text);
}

static cJSON *config_show(const struct field *field, const void *target) {
    char *text;
    memcpy(&text, value_of(field, target), sizeof(text));
    return text ? cJSON_CreateRaw(text) : NULL;
}

/* -- lists -- */

static void list_free(const struct field *field, void *target) {
    void *items;
    memcpy(&items, member_of(field, target), sizeof(items));
    alloc_free(items);
}

static bool list_set_default(const struct field *field, void *target) {
    void *none = NULL;
    size_t count = 0;
    memcpy(member_of(field, target), &none, sizeof(none));
    memcpy((char *)target + field->count_offset, &count, sizeof(count));
    return true;
}

/* Replaces the list by an empty one with space for `count` items; NULL after checker->failed was
 * set. */
static void *list_replace(struct checker *checker, size_t count, size_t size,
                          const struct field *field, void *target) {
    list_free(field, target);
    void *items = alloc_array(count, size);
    checker->failed |= !items;
    count = items ? count : 0;
    memcpy(member_of(field, target), &items, sizeof(items));
    memcpy((char *)target + field->count_offset, &count, sizeof(count));
    return items;
}

static void read_network(struct checker *checker, struct checked value,
                         struct address_prefix *prefix) {
    struct error error;
    if (!cJSON_IsString(value.item)) {
        check_error(checker, value.pointer,
                    "expected a network like \"10.0.0.0/8\" or \"2001:db8::/32\", found %s",
                    check_found(value.item));
    } else if (!address_prefix_parse(prefix, value.item->valuestring, os_interface_find, &error)) {
        check_error(checker, value.pointer,
                    "\"%.64s\": %s; expected one like \"10.0.0.0/8\" or \"2001:db8::/32\"",
                    value.item->valuestring, error.message);
    }
}

static void networks_read(struct checker *checker, struct checked value, const struct field *field,
                          void *target) {
    char pointer[CHECK_POINTER_MAX];
    int size = cJSON_GetArraySize(value.item);
    if (!cJSON_IsArray(value.item)) {
        check_error(checker, value.pointer, "expected an array of networks, found %s",
                    check_found(value.item));
        return;
    }
    if (size < 1 || size > MANIFEST_NETWORKS_MAX) {
        check_error(checker, value.pointer, "expected 1 to %d networks, found %d%s",
                    MANIFEST_NETWORKS_MAX, size,
                    size < 1 ? "; leave the key out to have no such list" : "");
        return;
    }
    struct address_prefix *prefixes =
        list_replace(checker, (size_t)size, sizeof(*prefixes), field, target);
    const cJSON *item = prefixes ? value.item->child : NULL;
    for (size_t i = 0; item; i++, item = item->next) {
        char index[24];
        snprintf(index, sizeof(index), "%zu", i);
        check_pointer(pointer, value.pointer, index);
        read_network(checker, (struct checked){item, pointer}, &prefixes[i]);
    }
}

/* False: an error says what is wrong. */
static bool option_kinds_read_address(struct checker *checker, struct checked value,
                                      struct berth_address *address) {
    struct error error;
    if (!cJSON_IsString(value.item)) {
        check_error(checker, value.pointer,
                    "expected an address like \"127.0.0.1:5001\" or \"[::1]:5001\", found %s",
                    check_found(value.item));
        return false;
    }
    const char *text = value.item->valuestring;
    if (!address_parse_zone(address, text, os_interface_find, &error)) {
        check_error(checker, value.pointer,
                    "\"%.64s\": %s; expected one like \"127.0.0.1:5001\" or \"[::1]:5001\"", text,
                    error.message);
        return false;
    }
    if (address_is_mapped(address)) {
        char plain[BERTH_ADDRESS_TEXT_MAX];
        address_unmap(address);
        address_format(address, plain, sizeof(plain));
        check_error(checker, value.pointer,
                    "\"%.64s\": an IPv4 address in the form of an IPv6 one, which no socket can "
                    "listen at; write \"%s\"",
                    text, plain);
        return false;
    }
    if (address_is_link_local(address) && address->scope_id == 0) {
        check_error(checker, value.pointer,
                    "\"%.64s\": a link-local address needs the network interface it is of, as in "
                    "\"[fe80::1%%eth0]:5001\"",
                    text);
        return false;
    }
    return true;
}

/* Invalid addresses are skipped. */
static void addresses_read(struct checker *checker, struct checked value, const struct field *field,
                           void *target) {
    char pointer[CHECK_POINTER_MAX];
    bool is_list = cJSON_IsArray(value.item);
    int size = is_list ? cJSON_GetArraySize(value.item) : 1;
    if (size < 1 || size > MANIFEST_ADDRESSES_MAX) {
        check_error(checker, value.pointer, "expected 1 to %d addresses, found %d",
                    MANIFEST_ADDRESSES_MAX, size);
        return;
    }
    struct berth_address *addresses =
        list_replace(checker, (size_t)size, sizeof(*addresses), field, target);
    size_t count = 0;
    const cJSON *item = is_list ? value.item->child : value.item;
    for (int i = 0; addresses && i < size; i++, item = item->next) {
        char index[16];
        snprintf(index, sizeof(index), "%d", i);
        check_pointer(pointer, value.pointer, index);
        count += option_kinds_read_address(
            checker, (struct checked){item, is_list ? pointer : value.pointer}, &addresses[count]);
    }
    memcpy((char *)target + field->count_offset, &count, sizeof(count));
}

/* -- objects -- */

static void object_read(struct checker *checker, struct checked value, const struct field *field,
                        void *target) {
    check_object(checker, value, field->fields, target);
}

static void rate_read(struct checker *checker, struct checked value, const struct field *field,
                      void *target) {
    if (cJSON_IsObject(value.item)) {
        check_object(checker, value, field->fields, target);
    } else if (cJSON_IsNumber(value.item)) {
        whole_read(checker, value, &field->fields[0], target);
    } else {
        check_error(checker, value.pointer,
                    "expected a whole number from %u to %u (connections a second), or an object "
                    "with \"per_second\" and \"burst\", found %s",
                    (unsigned)field->fields[0].least, (unsigned)field->fields[0].most,
                    check_found(value.item));
    }
}

static void other_read(struct checker *checker, struct checked value, const struct field *field,
                       void *target) {
    field->read(checker, value, target);
}

const struct option_kind option_kinds[FIELD_KINDS] = {
    [FIELD_WHOLE] = {whole_read, number_set_default, whole_show, NULL},
    [FIELD_AUTO] = {auto_read, number_set_default, auto_show, NULL},
    [FIELD_BOOL] = {bool_read, bool_set_default, bool_show, NULL},
    [FIELD_CHOICE] = {choice_read, number_set_default, choice_show, NULL},
    [FIELD_STRING] = {string_read, string_set_default, string_show, string_free},
    [FIELD_HOST_NAME] = {host_name_read, string_set_default, string_show, string_free},
    [FIELD_PLUGIN_ID] = {plugin_id_read, string_set_default, string_show, string_free},
    [FIELD_NETWORKS] = {networks_read, list_set_default, NULL, list_free},
    [FIELD_ADDRESSES] = {addresses_read, list_set_default, NULL, list_free},
    [FIELD_CONFIG] = {config_read, string_set_default, config_show, string_free},
    [FIELD_OBJECT] = {object_read, NULL, NULL, NULL},
    [FIELD_RATE] = {rate_read, NULL, NULL, NULL},
    [FIELD_OTHER] = {other_read, NULL, NULL, NULL},
};
