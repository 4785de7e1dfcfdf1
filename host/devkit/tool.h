/* tool.h: what the verbs of this folder share: the reading of a config, and a watch over a
 * plugin that crashes or hangs. */
#ifndef BERTH_HOST_DEVKIT_TOOL_H
#define BERTH_HOST_DEVKIT_TOOL_H

#include <stdbool.h>
#include <stddef.h>

#include "command/command.h"

struct error;

/* --config: the text of it, from a file or itself; NULL without one. *folder is the file's, for
 * relative paths, else ".". */
bool tool_config_read(const char *given, char **json, char *folder, size_t size,
                      struct error *error);

/* Where something happened, for a sentence: "in `received`". `callback` and `no_code` as below. */
void tool_place(char *text, size_t size, const char *callback, bool no_code);

/* From now on a crash, or a callback that takes more than limit_ms, or so long outside of every
 * callback between two calls of watchdog_step(), ends the process after `last_words` ("crashed
 * with SIGSEGV", "did not return within 10 s"), which writes them with os_process_write().
 * `callback`: the one that it happened in, "" for none; NULL: another thread than the one that
 * tries the plugin crashed. `no_code`: where there was no code, as after the unloading. */
typedef void tool_crash_report_fn(const char *what, const char *callback, bool no_code);
bool watchdog_start(unsigned limit_ms, tool_crash_report_fn *last_words, struct error *error);
void watchdog_step(void);
void watchdog_stop(void);

/* The program beside this one that runs plugins. */
#define TOOL_DEVKIT "berth-devkit"

int tool_test(const struct command *command);
int tool_fuzz(const struct command *command);
int tool_validate(const struct command *command);

#endif
