/* manifest.h: the checked form of berth.json. Only its reader uses cJSON.
 *
 * manifest_load() parses and checks everything, and reports all errors in one go; `berth check`,
 * `berth run` and reload use the same code. A manifest that was returned has every default filled
 * in and no impossible combination. Every key is defined once, in options.def.
 *
 * Owner: the caller; manifest_destroy(). Read-only after loading. */
#ifndef BERTH_HOST_MANIFEST_MANIFEST_H
#define BERTH_HOST_MANIFEST_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/address_prefix.h"
#include "base/log.h"
#include "berth/address.h"

#define MANIFEST_BYTES_MAX ((size_t)1024 * 1024)
#define MANIFEST_DEPTH_MAX 64

#define CHOICES_BEGIN(name) enum name {
#define CHOICE_VALUE(value, word) value,
#define CHOICES_END(name)                                                                          \
    }                                                                                              \
    ;
#define OPTIONS_CHOICES
#include "manifest/options.def"

enum manifest_limit {
#define LIMIT(name, value) name = (value),
#define OPTIONS_LIMITS
#include "manifest/options.def"
};

/* A listener's value that is not set: the host's value applies. */
#define MANIFEST_AS_HOST UINT32_MAX

/* What an option is in the structs; for the meaning of each see options.def. */
#define OBJECT_BEGIN(path, key, text) struct {
#define RATE_BEGIN(path, key, text) struct {
#define OBJECT_END(key)                                                                            \
    }                                                                                              \
    key;
#define WHOLE(path, key, least, most, initial, text) uint32_t key;
#define WHOLE_OR_AUTO(path, key, least, most, text) uint32_t key;
#define BOOL(path, key, initial, text) bool key;
#define CHOICE(path, key, type, initial, text) enum type key;
#define STRING(path, key, initial, text) char *key;
#define HOST_NAME(path, key, initial, text) char *key;
#define PLUGIN_ID(path, key, initial, text) char *key;
#define NETWORKS(path, key, initial, text)                                                         \
    struct address_prefix *key;                                                                    \
    size_t key##_count;
#define ADDRESSES(path, key, initial, text)                                                        \
    struct berth_address *key##es;                                                                 \
    size_t key##_count;
#define CONFIG(path, key, text) char *key##_json;

/* "/listeners/<name>" */
struct manifest_listener {
    char *name;
    char *json;  /* all of the listener as compact JSON: equal texts mean equal listeners */
    size_t line; /* where the listener begins in the file, for later messages */
#define OPTIONS_LISTENER
#include "manifest/options.def"
};

struct manifest {
    char *path;
    char *text; /* NULL where it came from memory */
    size_t text_size;
    struct {
#define OPTIONS_HOST
#include "manifest/options.def"
    } host;
    struct manifest_listener *listeners;
    size_t listener_count;
};

#define OPTIONS_END
#include "manifest/options.def"

/* An error. Line and column are of the offending key or value, from 1. */
struct manifest_error {
    size_t line;
    size_t column;
    char *pointer; /* "/listeners/echo/accept/when"; "" is the whole file (RFC 6901) */
    char *message;
    size_t order; /* in which it was found */
};

struct looked_up;

struct manifest_errors {
    struct manifest_error *items;
    size_t count;
    size_t capacity;
    struct looked_up *looked_up; /* for manifest_errors_add_at(); or NULL */
    bool lost;                   /* there was no memory for one of them */
};

/* Reads and checks the file. NULL if anything is wrong: then `errors` has all errors, sorted by
 * location. Free both results. The text is stored with the manifest. */
struct manifest *manifest_load(const char *path, struct manifest_errors *errors);

/* Adds errors about the listeners' plugins when the manifest has other errors, so that all are
 * reported at once. `explain` returns false if the plugin has no error; then `check_config` adds
 * the errors in the listener's "config". */
struct manifest_look {
    bool (*explain)(void *context, const struct manifest *manifest, const char *plugin, char *text,
                    size_t size);
    void (*check_config)(void *context, const struct manifest *manifest,
                         const struct manifest_listener *listener, struct manifest_errors *errors);
    void *context;
};
struct manifest *manifest_load_with(const char *path, const struct manifest_look *look,
                                    struct manifest_errors *errors);

/* The same for text in memory; `path` is only for messages. */
struct manifest *manifest_parse(const char *path, const char *text, size_t size,
                                struct manifest_errors *errors);

/* The log format that the file at `path` sets, as far as it can be read: it is found in a manifest
 * with errors, too, and in one that is not JSON. False: it sets none. */
bool manifest_log_format(const char *path, enum log_format *format);

/* "auto", "io_uring", "epoll" */
const char *manifest_engine_name(enum manifest_engine engine);

/* Calls for every option: its JSON pointer, the value in force as JSON or "none", and whether the
 * manifest gives it or it is the default. Of a loaded manifest. False: no memory. */
typedef void manifest_effective_fn(void *context, const char *pointer, const char *value,
                                   bool given);
bool manifest_list_effective(const struct manifest *manifest, manifest_effective_fn *option,
                             void *context);

void manifest_destroy(struct manifest *manifest); /* NULL is legal */
void manifest_errors_fini(struct manifest_errors *errors);

/* "file:line:column: /json/pointer: message" into text, or the message alone if it has no location;
 * returns as snprintf. */
int manifest_error_format(const struct manifest_error *error, const char *path, char *text,
                          size_t size);

/* Adds an error found later (a plugin that does not exist) at a location given by its JSON pointer.
 * The location is looked up in the file's text, which is read again once for all errors of a
 * list. */
bool manifest_errors_add_at(struct manifest_errors *errors, const char *path, const char *pointer,
                            const char *format, ...) BERTH_PRINTF(4, 5);
/* The same at the key that is there. */
bool manifest_errors_add_at_key(struct manifest_errors *errors, const char *path,
                                const char *pointer, const char *format, ...) BERTH_PRINTF(4, 5);

/* Moves all errors of `from`, and sorts by location. False: no memory, some are not moved. */
bool manifest_errors_merge(struct manifest_errors *to, struct manifest_errors *from);

/* An error without a location. */
bool manifest_errors_add(struct manifest_errors *errors, const char *message);

/* Whether the text is a JSON object, as a "config" must be; otherwise the error says what is
 * wrong. */
bool manifest_json_check(const char *text, struct error *error);

/* The JSON text with strings replaced: the function writes the replacement of a value to *other, up
 * to `size`; the value is unchanged if *other is left empty. False ends it, with an error from the
 * function. NULL: that, or no memory. Free it with alloc_free(). */
typedef bool manifest_string_fn(void *context, const char *string, char *other, size_t size);
char *manifest_json_change(const char *text, manifest_string_fn *change, void *context,
                           struct error *error);

/* Whether it could be a "host.name". */
bool manifest_name_valid(const char *name);

/* The candidate nearest in spelling, or NULL when none is near: for "did you mean". */
const char *manifest_suggest(const char *word, const char *const *candidates, size_t count);

#endif
