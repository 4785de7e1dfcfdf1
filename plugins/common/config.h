/* config.h: a listener's "config" object, read according to a table of its members.
 *
 * For the plugins of this folder; compiled into each of them. Every error names its position and
 * the remedy; an unknown key is an error. Threads: [control]. */
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
    CONFIG_PATH,   /* the same, made absolute: relative to the manifest's folder */
    CONFIG_WORD,   /* uint32_t: the index of one of the words */
    CONFIG_FLAG,   /* bool */
    CONFIG_OWN,    /* parsed by `read` */
};

struct config_member {
    const char *name;
    enum config_kind kind;
    bool required;
    void *target; /* holds the default; unchanged if the member is missing */
    uint32_t min;
    uint32_t max;
    const char *const *words; /* ends in NULL */
    const char *expected;     /* what a required member must be: "a folder" */
    int32_t (*read)(const struct cJSON *value, void *target, struct berth_error *error);
};

/* Reads all members, or returns the status of the error. Members read before an error keep their
 * values: the caller frees the texts in any case. */
int32_t config_read(const struct berth_listener *listener, const struct config_member *members,
                    size_t count, struct berth_error *error);

#endif
