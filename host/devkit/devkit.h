/* devkit.h: the verbs for plugin developers; main.c dispatches to them.
 *
 * Each returns the exit code of the program. Threads: the main
 * thread. */
#ifndef BERTH_HOST_DEVKIT_DEVKIT_H
#define BERTH_HOST_DEVKIT_DEVKIT_H

#include "command/command.h"

int author_new(const struct command *command);
int devkit_record(const struct command *command);

/* The verbs that run plugins on the simulated engine: starts berth-devkit, the program in the same
 * folder, with the same arguments. */
int author_run_devkit(int argc, char **argv);

#endif
