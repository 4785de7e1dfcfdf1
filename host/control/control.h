/* control.h: the verbs of the command line; main.c picks one.
 *
 * Each returns the exit code of the program. Threads: the main thread, which is the control thread.
 */
#ifndef BERTH_HOST_CONTROL_CONTROL_H
#define BERTH_HOST_CONTROL_CONTROL_H

#include <stdbool.h>
#include <stddef.h>

enum { EXIT_FINE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_MANIFEST = 78 };

enum { CONTROL_WORDS_MAX = 1024 };

/* What the command line said. NULL, false, none: not given. */
struct control_options {
    const char *manifest;
    const char *ready_file;
    const char *plugins;
    const char *name;    /* of the host to speak to */
    const char *timeout; /* in seconds: how long it may take to answer */
    bool all;
    bool dry_run;
    bool json;
    bool now;
    bool supervise;
    const char *supervised; /* by a parent: what its link is called */
    const char *kept;       /* by a parent: the folder of kept.h */
    bool use_kept;
    bool watch;
    const char *words[CONTROL_WORDS_MAX];
    size_t word_count;
};

int control_run(const struct control_options *options);
int control_check(const struct control_options *options);
int control_plugins(const struct control_options *options);

/* Of a host that runs: client.c */
int control_status(const struct control_options *options);
int control_listeners(const struct control_options *options);
int control_pause(const struct control_options *options);
int control_resume(const struct control_options *options);
int control_restart(const struct control_options *options);
int control_reload(const struct control_options *options);
int control_release(const struct control_options *options);
int control_stop(const struct control_options *options);

/* The plugins of a host that runs. */
int control_running_plugins(const struct control_options *options);
/* Whether there is a host to speak to where nothing says which one. */
bool control_is_running(void);

#endif
