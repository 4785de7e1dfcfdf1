/* control.h: the verbs of the command line; main.c picks one.
 *
 * Each returns the exit code of the program. Threads: the main thread, which is the control thread.
 */
#ifndef BERTH_HOST_CONTROL_CONTROL_H
#define BERTH_HOST_CONTROL_CONTROL_H

#include <stdbool.h>
#include <stddef.h>

#define BERTH_VERSION "0.1.0"

enum { EXIT_FINE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_MANIFEST = 78 };

/* What the command line said. NULL: not given. */
struct control_options {
    const char *manifest;
    const char *ready_file;
    const char *plugins;
};

int control_run(const struct control_options *options);
int control_check(const struct control_options *options);
int control_plugins(const struct control_options *options);

#endif
