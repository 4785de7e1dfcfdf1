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

/* All verbs that a running host answers: client.c. */
int control_ask(const struct command *options);

/* Whether a host runs that a command without --name and --manifest would be sent to. */
bool control_is_running(void);

#endif
