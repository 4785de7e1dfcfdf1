/* names.h: what the names mean that verbs take as arguments.
 *
 * NAME is a listener, or a plugin, which means all listeners that use it. If it could be both,
 * and the two differ, it is an error: "listener:NAME" and "plugin:NAME" say which. Threads:
 * [control]. */
#ifndef BERTH_HOST_CONTROL_NAMES_H
#define BERTH_HOST_CONTROL_NAMES_H

#include <stdbool.h>
#include <stddef.h>

struct manifest;
struct supervised;

/* Whether the name means that listener, which has that plugin. */
bool names_mean(const char *name, const char *listener, const char *plugin);

/* Whether the name could mean two things; then the text says so. */
bool names_are_ambiguous(const struct manifest *manifest, const char *name, char *text,
                         size_t size);

/* Explains why the name means nothing that serves: there is nothing of that name, or it is in
 * quarantine. */
void names_explain(const struct manifest *manifest, const struct supervised *supervised,
                   const char *name, char *text, size_t size);

/* Whether the name means something that serves, and only one thing; else the text says why not. */
bool names_check(const struct manifest *manifest, const struct supervised *supervised,
                 const char *name, char *text, size_t size);

#endif
