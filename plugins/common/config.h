/* config.h: a listener's "config" object, read by a table of what it may hold.
 *
 * For the plugins of this folder; compiled into each of them. Every mistake is one error with its
 * place and remedy; a key that the table does not have is one too. Threads: [control]. */
#ifndef BERTH_PLUGINS_COMMON_CONFIG_H
#define BERTH_PLUGINS_COMMON_CONFIG_H

#include <berth/host.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cJSON;
struct berth_listener;

enum config_kind {
    CONFIG_NUMBER, /* uint32_t: a whole number from min to max */
    CONFIG_TEXT,   /* char *: allocated, 1 to max bytes; the owner of the table frees it */
    CONFIG_PATH,   /* the same, made absolute: relative paths begin in the manifest's folder */
    CONFIG_WORD,   /* uint32_t: the index of one of the words */
    CONFIG_FLAG,   /* bool */
    CONFIG_OWN,    /* whatever `read` makes of it */
};

struct config_member {
    const char *name;
    enum config_kind kind;
    bool required;
    void *target; /* holds the default, and stays as it is when the member is not there */
    uint32_t min;
    uint32_t max;
    const char *const *words; /* ends in NULL */
    const char *expected;     /* of a required member that is not there: "a folder" */
    int32_t (*read)(const struct cJSON *value, void *target, struct berth_error *error);
};

/* Reads them all, or returns the status that goes with the error. What was read before an error
 * stays: the caller frees texts in any case. */
int32_t config_read(const struct berth_listener *listener, const struct config_member *members,
                    size_t count, struct berth_error *error);

#endif
