/* control.h: the verbs of the command line; main.c picks one.
 *
 * Each returns the exit code of the program. Threads: the main thread, which is the control thread.
 */
#ifndef BERTH_HOST_CONTROL_CONTROL_H
#define BERTH_HOST_CONTROL_CONTROL_H

#include <stdbool.h>

#include "command/command.h"

int control_run(const struct command *options);
int control_check(const struct command *options);
int control_plugins(const struct command *options);
int control_schema(const struct command *options);

/* All verbs that a running host answers: client.c */
int control_ask(const struct command *options);

/* Whether there is a host to speak to where nothing says which one. */
bool control_is_running(void);

#endif
