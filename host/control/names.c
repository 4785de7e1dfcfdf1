#include "control/names.h"

#include <stdio.h>
#include <string.h>

#include "control/supervise.h"
#include "manifest/manifest.h"

static const char listener_prefix[] = "listener:";
static const char plugin_prefix[] = "plugin:";

struct parts {
    const char *word;
    bool listener; /* whether it can name a listener */
    bool plugin;
};

static bool names_begins_with(const char *name, const char *prefix) {
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

/* Listener and plugin names have no colon. */
static struct parts names_split(const char *name) {
    if (names_begins_with(name, listener_prefix)) {
        return (struct parts){name + strlen(listener_prefix), true, false};
    }
    if (names_begins_with(name, plugin_prefix)) {
        return (struct parts){name + strlen(plugin_prefix), false, true};
    }
    return (struct parts){name, true, true};
}

bool names_mean(const char *name, const char *listener, const char *plugin) {
    struct parts parts = names_split(name);
    return (parts.listener && strcmp(parts.word, listener) == 0) ||
           (parts.plugin && strcmp(parts.word, plugin) == 0);
}

bool names_are_ambiguous(const struct manifest *manifest, const char *name, char *text,
                         size_t size) {
    struct parts parts = names_split(name);
    bool is_listener = false;
    unsigned of_plugin = 0;
    bool differ = false;
    for (size_t i = 0; i < manifest->listener_count; i++) {
        const struct manifest_listener *one = &manifest->listeners[i];
        bool by_name = strcmp(one->name, parts.word) == 0;
        bool by_plugin = strcmp(one->plugin, parts.word) == 0;
        is_listener = is_listener || by_name;
        of_plugin += by_plugin;
        differ = differ || by_name != by_plugin;
    }
    bool ambiguous = parts.listener && parts.plugin && is_listener && of_plugin > 0 && differ;
    if (ambiguous) {
        snprintf(text, size,
                 "\"%.80s\" is ambiguous: a listener is called so, and a plugin that %u listeners "
                 "have: say \"listener:%.80s\" or \"plugin:%.80s\"",
                 name, of_plugin, name, name);
    }
    return ambiguous;
}

void names_explain(const struct manifest *manifest, const struct supervised *supervised,
                   const char *name, char *text, size_t size) {
    struct parts parts = names_split(name);
    for (size_t i = 0; i < manifest->listener_count; i++) {
        const struct manifest_listener *one = &manifest->listeners[i];
        if (names_mean(name, one->name, one->plugin) &&
            supervisor_client_is_quarantined(supervised, one->plugin)) {
            snprintf(text, size,
                     "listener \"%.80s\" is closed: its plugin \"%.80s\" is in quarantine, and "
                     "\"berth release %.80s\" lets it in again",
                     one->name, one->plugin, one->plugin);
            return;
        }
    }
    snprintf(text, size, "no %s is called \"%.100s\"",
             parts.listener && parts.plugin ? "listener and no plugin"
             : parts.listener               ? "listener"
                                            : "plugin",
             parts.word);
}

bool names_check(const struct manifest *manifest, const struct supervised *supervised,
                 const char *name, char *text, size_t size) {
    if (names_are_ambiguous(manifest, name, text, size)) {
        return false;
    }
    for (size_t i = 0; i < manifest->listener_count; i++) {
        const struct manifest_listener *one = &manifest->listeners[i];
        if (names_mean(name, one->name, one->plugin) &&
            !supervisor_client_is_quarantined(supervised, one->plugin)) {
            return true;
        }
    }
    names_explain(manifest, supervised, name, text, size);
    return false;
}
