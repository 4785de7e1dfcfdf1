/* devkit.h: the verbs for those who write plugins; main.c picks them.
 *
 * Each returns the exit code of the program. Threads: the main
 * thread. */
#ifndef BERTH_HOST_DEVKIT_DEVKIT_H
#define BERTH_HOST_DEVKIT_DEVKIT_H

#include "command/command.h"

int author_new(const struct command *command);
int devkit_record(const struct command *command);

/* The verbs that run plugins, with the simulated engine: the words go to the program beside this
 * one. */
int author_run_devkit(int argc, char **argv);

#endif
