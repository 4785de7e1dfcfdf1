/* schema_check.c: checks a value against a schema, and describes its errors.
 *
 * The value is walked once, each part by the nodes that apply to it. All forms of an "anyOf" are
 * tried without error messages; if none fits, the form that was probably meant is checked again
 * with messages. Pointers are made only for errors that are reported. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/macros.h"
#include "base/text.h"
#include "manifest/check.h"
#include "manifest/errors.h"
#include "manifest/json.h"
#include "manifest/pattern.h"
#include "manifest/schema.h"
#include "manifest/schema_private.h"

enum { LIST_BYTES = 320, SUGGESTED_MAX = 256, WORDS_BYTES = 640 };

struct checking {
    struct schema *schema;
    schema_report_fn *report;
    void *context;
    unsigned reported;
    unsigned not_reported;
    bool failed; /* no memory */
    bool quiet;  /* only whether it fits counts: the first misfit ends it */
    bool at_key; /* the value is a key */
};

/* From a value back to the whole: the key or the index of each step. */
struct path {
    const struct path *parent;
    const char *key; /* NULL: the index */
    size_t index;
};

static bool check_value(struct checking *checking, const struct schema_node *node,
                        const cJSON *value, const struct path *path);

/* -- messages -------------------------------------------------------------- */

static void make_pointer(char *pointer, const struct path *path) {
    char parent[CHECK_POINTER_MAX];
    char index[24];
    if (!path) {
        pointer[0] = '\0';
        return;
    }
    make_pointer(parent, path->parent);
    snprintf(index, sizeof(index), "%zu", path->index);
    check_pointer(pointer, parent, path->key ? path->key : index);
}

/* Whether to make a message, which may cost more than the check itself. Errors over the limit are
 * only counted. */
static bool schema_check_speaks(struct checking *checking) {
    if (checking->quiet || checking->reported < SCHEMA_ERRORS_MAX) {
        return !checking->quiet;
    }
    checking->not_reported++;
    return false;
}

/* Reports an error; called after schema_check_speaks() only. Returns false. */
static bool schema_check_say(struct checking *checking, const struct path *path, const char *format,
                             ...) BERTH_PRINTF(3, 4);
static bool schema_check_say(struct checking *checking, const struct path *path, const char *format,
                             ...) {
    char words[WORDS_BYTES];
    char pointer[CHECK_POINTER_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(words, sizeof(words), format, arguments);
    va_end(arguments);
    make_pointer(pointer, path);
    checking->report(checking->context, pointer, checking->at_key, words);
    checking->reported++;
    return false;
}

static const char *schema_check_found(const cJSON *value, char *text, size_t size) {
    if (cJSON_IsNumber(value)) {
        snprintf(text, size, "%.17g", value->valuedouble);
        if (strtod(text, NULL) == value->valuedouble) { /* as short as it is exact */
            char shorter[40];
            snprintf(shorter, sizeof(shorter), "%.15g", value->valuedouble);
            if (strtod(shorter, NULL) == value->valuedouble) {
                snprintf(text, size, "%s", shorter);
            }
        }
        return text;
    }
    if (cJSON_IsString(value)) {
        snprintf(text, size, "\"%.64s\"", value->valuestring);
        return text;
    }
    return check_found(value);
}

static void append_value(char *text, size_t size, size_t *used, const cJSON *value) {
    char *json = cJSON_PrintUnformatted(value);
    text_append(text, size, used, "%.64s", json ? json : "?");
    cJSON_free(json);
}

/* "a" or "b" or 3 */
static void list_values(char *text, size_t size, const cJSON *values) {
    size_t used = 0;
    text[0] = '\0';
    for (const cJSON *one = values->child; one && used < size - 96; one = one->next) {
        text_append(text, size, &used, "%s", one == values->child ? "" : " or ");
        append_value(text, size, &used, one);
        if (one->next && used >= size - 96) {
            text_append(text, size, &used, ", …");
        }
    }
}

static const char *const type_words[SCHEMA_TYPES] = {
    "null", "true or false", "an object", "an array", "a string", "a number", "a whole number"};

static void list_types(char *text, size_t size, unsigned types) {
    size_t used = 0;
    text[0] = '\0';
    for (unsigned i = 0; i < SCHEMA_TYPES; i++) {
        bool within = i == 6 && (types & SCHEMA_NUMBER) != 0; /* a whole number is a number */
        if ((types & 1u << i) != 0 && !within) {
            text_append(text, size, &used, "%s%s", used > 0 ? " or " : "", type_words[i]);
        }
    }
}

/* -- kinds of values ------------------------------------------------------- */

static unsigned types_of(const cJSON *value) {
    if (cJSON_IsNumber(value)) {
        double number = value->valuedouble;
        bool whole = isfinite(number) && number == floor(number);
        return SCHEMA_NUMBER | (whole ? SCHEMA_INTEGER : 0);
    }
    return cJSON_IsString(value)  ? SCHEMA_STRING
           : cJSON_IsBool(value)  ? SCHEMA_BOOLEAN
           : cJSON_IsNull(value)  ? SCHEMA_NULL
           : cJSON_IsArray(value) ? SCHEMA_ARRAY
                                  : SCHEMA_OBJECT;
}

static bool has_type(const struct schema_node *node, const cJSON *value) {
    return !node->refuses_all && (node->types == 0 || (node->types & types_of(value)) != 0);
}

/* " from 1 to 10", " above 0", "" */
static void describe_range(char *text, size_t size, const struct schema_node *node) {
    size_t used = 0;
    text[0] = '\0';
    if (node->has_minimum) {
        text_append(text, size, &used, node->minimum_is_out ? " above %.15g" : " from %.15g",
                    node->minimum);
    }
    if (node->has_maximum) {
        const char *way = node->maximum_is_out ? " below" : node->has_minimum ? " to" : " up to";
        text_append(text, size, &used, "%s %.15g", way, node->maximum);
    }
}

static bool misfit_number(struct checking *checking, const struct schema_node *node,
                          const cJSON *value, const struct path *path) {
    char range[96];
    char number[40];
    if (!schema_check_speaks(checking)) {
        return false;
    }
    bool whole = (node->types & (SCHEMA_NUMBER | SCHEMA_INTEGER)) == SCHEMA_INTEGER;
    describe_range(range, sizeof(range), node);
    return schema_check_say(checking, path, "expected %s%s, found %s",
                            whole ? "a whole number" : "a number", range,
                            schema_check_found(value, number, sizeof(number)));
}

static bool check_number(struct checking *checking, const struct schema_node *node,
                         const cJSON *value, const struct path *path) {
    double number = value->valuedouble;
    bool low = node->has_minimum &&
               (number < node->minimum || (node->minimum_is_out && number == node->minimum));
    bool high = node->has_maximum &&
                (number > node->maximum || (node->maximum_is_out && number == node->maximum));
    bool fits = (!low && !high) || misfit_number(checking, node, value, path);
    if (node->multiple > 0 && fmod(number, node->multiple) != 0) { /* of an infinity: NaN */
        fits = schema_check_speaks(checking) &&
               schema_check_say(checking, path, "expected a multiple of %.15g, found %.17g",
                                node->multiple, number);
    }
    return fits;
}

/* "2 to 5 items", "at least 1 item" */
static void describe_bounds(char *text, size_t size, const struct schema_bounds *bounds,
                            const char *things) {
    double last = bounds->max < 0 ? bounds->min : bounds->max;
    const char *ending = last == 1 ? "" : "s";
    if (bounds->min < 0 || bounds->max < 0) {
        snprintf(text, size, "at %s %.15g %s%s", bounds->min < 0 ? "most" : "least", last, things,
                 ending);
    } else if (bounds->min == bounds->max) {
        snprintf(text, size, "%.15g %s%s", last, things, ending);
    } else {
        snprintf(text, size, "%.15g to %.15g %s%s", bounds->min, last, things, ending);
    }
}

static bool check_bounds(struct checking *checking, const struct schema_bounds *bounds,
                         size_t count, const char *of, const char *things,
                         const struct path *path) {
    char text[96];
    double number = (double)count;
    if ((bounds->min < 0 || number >= bounds->min) && (bounds->max < 0 || number <= bounds->max)) {
        return true;
    }
    if (!schema_check_speaks(checking)) {
        return false;
    }
    describe_bounds(text, sizeof(text), bounds, things);
    return schema_check_say(checking, path, "expected %s%s, found %zu", of, text, count);
}

/* A text that is too long is not matched. */
static bool check_string(struct checking *checking, const struct schema_node *node,
                         const char *text, const struct path *path) {
    size_t length = 0;
    for (const char *at = text; *at; at++) {
        length += ((unsigned char)*at & 0xc0) != 0x80;
    }
    if (!check_bounds(checking, &node->length, length, "a string of ", "character", path)) {
        return false;
    }
    if (!node->pattern || pattern_matches(node->pattern, text)) {
        return true;
    }
    return schema_check_speaks(checking) &&
           schema_check_say(checking, path, "expected %s%.200s, found \"%.64s\"",
                            node->title ? "" : "a string that matches ",
                            node->title ? node->title : node->pattern_text, text);
}

/* -- arrays ---------------------------------------------------------------- */

struct numbered {
    struct digest digest;
    size_t index;
};

static int compare_numbered(const void *left, const void *right) {
    const struct numbered *one = left;
    const struct numbered *other = right;
    int order = digest_compare(&one->digest, &other->digest);
    return order != 0 ? order : one->index < other->index ? -1 : one->index > other->index;
}

static bool check_unique(struct checking *checking, const cJSON *value, size_t count,
                         const struct path *path) {
    struct numbered *items = alloc_array(count > 0 ? count : 1, sizeof(*items));
    bool fits = true;
    size_t index = 0;
    if (!items) {
        checking->failed = true;
        return false;
    }
    for (const cJSON *item = value->child; item; item = item->next) {
        items[index] = (struct numbered){digest_of(&checking->schema->keys, item), index};
        index++;
    }
    qsort(items, count, sizeof(*items), compare_numbered);
    for (size_t i = 1, first = 0; i < count && (fits || !checking->quiet); i++) {
        if (digest_compare(&items[i].digest, &items[first].digest) != 0) {
            first = i;
            continue;
        }
        const struct path at = {path, NULL, items[i].index};
        fits = schema_check_speaks(checking) &&
               schema_check_say(checking, &at, "the same as item %zu; each may be here once",
                                items[first].index);
    }
    alloc_free(items);
    return fits;
}

static bool check_array(struct checking *checking, const struct schema_node *node,
                        const cJSON *value, const struct path *path) {
    size_t count = 0;
    for (const cJSON *item = value->child; item; item = item->next) {
        count++;
    }
    bool fits = check_bounds(checking, &node->items_count, count, "", "item", path);
    struct path at = {path, NULL, 0};
    for (const cJSON *item = value->child; node->items && item && (fits || !checking->quiet);
         item = item->next) {
        fits = check_value(checking, node->items, item, &at) && fits;
        at.index++;
    }
    if (node->unique && (fits || !checking->quiet)) {
        fits = check_unique(checking, value, count, path) && fits;
    }
    return fits;
}

/* -- objects --------------------------------------------------------------- */

static void say_known(struct checking *checking, const struct schema_node *node, const char *key,
                      const struct path *path) {
    const char *keys[SUGGESTED_MAX] = {NULL};
    char known[LIST_BYTES] = "none";
    size_t count = 0;
    size_t used = 0;
    for (const struct schema_name *name = node->names; name && count < SUGGESTED_MAX;
         name = name->hh.next) {
        if (name->node && !name->node->refuses_all) {
            keys[count++] = name->key;
        }
    }
    const char *nearest = manifest_suggest(key, keys, count);
    if (nearest) {
        schema_check_say(checking, path, "unknown key (did you mean \"%s\"?)", nearest);
        return;
    }
    for (size_t i = 0; i < count && used < sizeof(known) - 80; i++) {
        text_append(known, sizeof(known), &used, "%s\"%.64s\"", i > 0 ? ", " : "", keys[i]);
    }
    schema_check_say(checking, path, "unknown key; known here: %s", known);
}

static bool misfit_key(struct checking *checking, const struct schema_node *node, const char *key,
                       const struct path *path) {
    if (schema_check_speaks(checking)) {
        bool outer = checking->at_key;
        checking->at_key = true;
        say_known(checking, node, key, path);
        checking->at_key = outer;
    }
    return false;
}

/* `number`: of the object, by which the names that are present are distinguished from those that
 * are missing. */
static bool check_member(struct checking *checking, const struct schema_node *node,
                         const cJSON *item, const struct path *path, unsigned long number,
                         size_t *required) {
    const struct path at = {path, item->string, 0};
    struct schema_name *name;
    bool fits = true;
    HASH_FIND_STR(node->names, item->string, name);
    if (name) {
        *required += name->required;
        name->seen = number;
    }
    if (node->key_names) {
        const cJSON key = {.type = cJSON_String, .valuestring = item->string};
        bool outer = checking->at_key;
        checking->at_key = true;
        fits = check_value(checking, node->key_names, &key, &at);
        checking->at_key = outer;
    }
    if (name && name->node) {
        return check_value(checking, name->node, item, &at) && fits;
    }
    if (node->additional && node->additional->refuses_all) {
        return misfit_key(checking, node, item->string, &at);
    }
    return (!node->additional || check_value(checking, node->additional, item, &at)) && fits;
}

static bool misfit_missing(struct checking *checking, const struct schema_node *node,
                           const struct path *path, unsigned long number) {
    const struct schema_name *name = checking->quiet ? NULL : node->names;
    for (; name; name = name->hh.next) {
        if (name->required && name->seen != number && schema_check_speaks(checking)) {
            schema_check_say(checking, path, "the key \"%.64s\" is missing", name->key);
        }
    }
    return false;
}

static bool check_object_value(struct checking *checking, const struct schema_node *node,
                               const cJSON *value, const struct path *path) {
    unsigned long number = ++checking->schema->objects;
    size_t required = 0;
    size_t count = 0;
    bool fits = true;
    for (const cJSON *item = value->child; item && (fits || !checking->quiet); item = item->next) {
        count++;
        fits = check_member(checking, node, item, path, number, &required) && fits;
    }
    if (!fits && checking->quiet) {
        return false;
    }
    fits = check_bounds(checking, &node->members_count, count, "", "key", path) && fits;
    if (required < node->required_count) {
        fits = misfit_missing(checking, node, path, number);
    }
    return fits;
}

/* -- anyOf ----------------------------------------------------------------- */

/* Whether a form is of another kind: a member of it that can have one value only has another. */
static bool schema_check_contradicts(struct checking *checking, const struct schema_node *form,
                                     const cJSON *value) {
    if (!cJSON_IsObject(value)) {
        return false;
    }
    for (const cJSON *item = value->child; item; item = item->next) {
        struct schema_name *name;
        HASH_FIND_STR(form->names, item->string, name);
        if (name && name->node && name->node->constant) {
            struct digest digest = digest_of(&checking->schema->keys, item);
            if (digest_compare(&digest, &name->node->constant_digest) != 0) {
                return true;
            }
        }
    }
    return false;
}

/* None fits: reports the errors of the form that was meant, if there is only one such form. */
static bool misfit_forms(struct checking *checking, const struct schema_node *node,
                         const cJSON *value, const struct path *path) {
    const struct schema_node *meant = NULL;
    unsigned types = 0;
    unsigned of_type = 0;
    unsigned candidates = 0;
    char list[LIST_BYTES];
    char text[96];
    size_t used = 0;
    for (size_t i = 0; i < node->any_of_count; i++) {
        const struct schema_node *form = node->any_of[i];
        types |= form->types;
        bool is_of_type = has_type(form, value);
        of_type += is_of_type;
        if (is_of_type && !schema_check_contradicts(checking, form, value)) {
            meant = form;
            candidates++;
        }
    }
    if (candidates == 1) {
        return check_value(checking, meant, value, path);
    }
    if (!schema_check_speaks(checking)) {
        return false;
    }
    if (of_type == 0 && types != 0) {
        list_types(list, sizeof(list), types);
        return schema_check_say(checking, path, "expected %s, found %s", list,
                                schema_check_found(value, text, sizeof(text)));
    }
    list[0] = '\0';
    for (size_t i = 0; i < node->any_of_count && used < sizeof(list) - 96; i++) {
        if (node->any_of[i]->title) {
            text_append(list, sizeof(list), &used, "%s%.80s", used > 0 ? "; " : ": ",
                        node->any_of[i]->title);
        }
    }
    return schema_check_say(checking, path, "%s is none of the %zu forms that are allowed here%s",
                            schema_check_found(value, text, sizeof(text)), node->any_of_count,
                            list);
}

static bool check_any_of(struct checking *checking, const struct schema_node *node,
                         const cJSON *value, const struct path *path) {
    bool quiet = checking->quiet;
    bool fits = false;
    checking->quiet = true;
    for (size_t i = 0; i < node->any_of_count && !fits; i++) {
        fits = check_value(checking, node->any_of[i], value, path);
    }
    checking->quiet = quiet;
    if (fits) {
        return true;
    }
    return !quiet && misfit_forms(checking, node, value, path);
}

/* -- values ---------------------------------------------------------------- */

static bool check_enum(struct checking *checking, const struct schema_node *node,
                       const cJSON *value, const struct path *path) {
    const char *words[SUGGESTED_MAX] = {NULL};
    char list[LIST_BYTES];
    char text[96];
    size_t count = 0;
    struct digest digest = digest_of(&checking->schema->keys, value);
    if (bsearch(&digest, node->digests, node->digest_count, sizeof(digest), digest_compare)) {
        return true;
    }
    if (!schema_check_speaks(checking)) {
        return false;
    }
    for (const cJSON *one = node->values->child; one && count < SUGGESTED_MAX; one = one->next) {
        if (cJSON_IsString(one)) {
            words[count++] = one->valuestring;
        }
    }
    const char *nearest =
        cJSON_IsString(value) ? manifest_suggest(value->valuestring, words, count) : NULL;
    list_values(list, sizeof(list), node->values);
    return schema_check_say(checking, path, "expected %s, found %s%s%.64s%s", list,
                            schema_check_found(value, text, sizeof(text)),
                            nearest ? " (did you mean \"" : "", nearest ? nearest : "",
                            nearest ? "\"?)" : "");
}

static bool check_const(struct checking *checking, const struct schema_node *node,
                        const cJSON *value, const struct path *path) {
    char list[LIST_BYTES] = "";
    char text[96];
    size_t used = 0;
    struct digest digest = digest_of(&checking->schema->keys, value);
    if (digest_compare(&digest, &node->constant_digest) == 0) {
        return true;
    }
    if (!schema_check_speaks(checking)) {
        return false;
    }
    append_value(list, sizeof(list), &used, node->constant);
    return schema_check_say(checking, path, "expected %s, found %s", list,
                            schema_check_found(value, text, sizeof(text)));
}

static bool misfit_type(struct checking *checking, const struct schema_node *node,
                        const cJSON *value, const struct path *path) {
    char list[LIST_BYTES];
    char text[96];
    if (!node->refuses_all && (node->types == SCHEMA_INTEGER || node->types == SCHEMA_NUMBER)) {
        return misfit_number(checking, node, value, path);
    }
    if (!schema_check_speaks(checking)) {
        return false;
    }
    if (node->refuses_all) {
        return schema_check_say(checking, path, "nothing is allowed here");
    }
    list_types(list, sizeof(list), node->types);
    return schema_check_say(checking, path, "expected %s, found %s", list,
                            schema_check_found(value, text, sizeof(text)));
}

static bool check_value(struct checking *checking, const struct schema_node *node,
                        const cJSON *value, const struct path *path) {
    bool fits = true;
    if (!has_type(node, value)) {
        return misfit_type(checking, node, value, path);
    }
    if (node->values && !check_enum(checking, node, value, path)) {
        return false; /* the list is narrower than any range */
    }
    if (node->constant && !check_const(checking, node, value, path)) {
        return false;
    }
    if (cJSON_IsNumber(value)) {
        fits = check_number(checking, node, value, path);
    } else if (cJSON_IsString(value)) {
        fits = check_string(checking, node, value->valuestring, path);
    } else if (cJSON_IsArray(value)) {
        fits = check_array(checking, node, value, path);
    } else if (cJSON_IsObject(value)) {
        fits = check_object_value(checking, node, value, path);
    }
    if (node->any_of_count > 0 && (fits || !checking->quiet)) {
        fits = check_any_of(checking, node, value, path) && fits;
    }
    return fits;
}

enum schema_result schema_check(struct schema *schema, const char *json, schema_report_fn *report,
                                void *context) {
    struct checking checking = {.schema = schema, .report = report, .context = context};
    json_setup();
    cJSON *value = cJSON_Parse(json);
    if (!value) { /* it was JSON where it came from */
        return SCHEMA_NO_MEMORY;
    }
    bool fits = check_value(&checking, schema->root, value, NULL);
    cJSON_Delete(value);
    if (checking.not_reported > 0) {
        char words[80];
        snprintf(words, sizeof(words), "%u more things are wrong", checking.not_reported);
        report(context, "", false, words);
    }
    return checking.failed ? SCHEMA_NO_MEMORY : fits ? SCHEMA_FITS : SCHEMA_MISFITS;
}

/* -- a listener's config --------------------------------------------------- */

struct listener_errors {
    const char *path;
    const struct manifest_listener *listener;
    struct manifest_errors *errors;
    bool failed;
};

static void add_listener_error(void *context, const char *pointer, bool at_key,
                               const char *message) {
    struct listener_errors *to = context;
    char listener[CHECK_POINTER_MAX];
    char whole[CHECK_POINTER_MAX];
    check_pointer(listener, "/listeners", to->listener->name);
    int length = snprintf(whole, sizeof(whole), "%s/config%s", listener, pointer);
    bool cut = length < 0 || (size_t)length >= sizeof(whole);
    to->failed |=
        !(at_key && !cut ? manifest_errors_add_at_key(to->errors, to->path, whole, "%s", message)
                         : manifest_errors_add_at(to->errors, to->path, whole, "%s", message));
}

bool schema_check_listener(struct schema *schema, const char *path,
                           const struct manifest_listener *listener,
                           struct manifest_errors *errors) {
    struct listener_errors to = {.path = path, .listener = listener, .errors = errors};
    enum schema_result result =
        schema_check(schema, listener->config_json, add_listener_error, &to);
    return result != SCHEMA_NO_MEMORY && !to.failed;
}

/* -- a text ---------------------------------------------------------------- */

struct text_errors {
    char *text;
    size_t size;
    size_t used;
};

static void add_line(void *context, const char *pointer, bool at_key, const char *message) {
    struct text_errors *to = context;
    (void)at_key;
    text_append(to->text, to->size, &to->used, "%s%s: %s", to->used > 0 ? "\n" : "",
                pointer[0] ? pointer : "/", message);
}

bool schema_check_text(struct schema *schema, const char *json, char *text, size_t size) {
    struct text_errors to = {.text = text, .size = size};
    text[0] = '\0';
    enum schema_result result = schema_check(schema, json, add_line, &to);
    if (result == SCHEMA_NO_MEMORY) {
        text_append(text, size, &to.used, "%sout of memory", to.used > 0 ? "\n" : "");
    }
    return result == SCHEMA_FITS;
}
