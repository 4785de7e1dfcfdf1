/* tool.h: shared by the verbs of this folder: reading a config, and a watchdog for a plugin that
 * crashes or hangs. */
#ifndef BERTH_HOST_DEVKIT_TOOL_H
#define BERTH_HOST_DEVKIT_TOOL_H

#include <stdbool.h>
#include <stddef.h>

#include "command/command.h"

struct error;

/* The text of --config, which is a file or the JSON itself; NULL without the option. *folder is the
 * file's folder, for relative paths, else ".". */
bool tool_config_read(const char *given, char **json, char *folder, size_t size,
                      struct error *error);

/* Writes where something happened, as part of a sentence: "in `received`". `callback` and `no_code`
 * as below. */
void tool_place(char *text, size_t size, const char *callback, bool no_code);

/* From now on the process ends after a crash, or when a callback, or the time between two calls of
 * watchdog_step() outside of callbacks, takes more than limit_ms. Before the end, the crash report
 * function gets the cause ("crashed with SIGSEGV", "did not return within 10 s") and writes it with
 * os_process_write(). `callback`: where it happened, "" for outside; NULL: a thread other than the
 * one that runs the plugin crashed. `no_code`: at an address without code, as after unloading. */
typedef void tool_crash_report_fn(const char *what, const char *callback, bool no_code);
bool watchdog_start(unsigned limit_ms, tool_crash_report_fn *last_words, struct error *error);
void watchdog_step(void);
void watchdog_stop(void);

/* The program in the same folder that runs plugins. */
#define TOOL_DEVKIT "berth-devkit"

int tool_test(const struct command *command);
int tool_fuzz(const struct command *command);
int tool_validate(const struct command *command);

#endif
