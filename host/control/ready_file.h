/* ready_file.h: the file of --ready-file, from before the start until the end.
 *
 * It says that a host serves, so it must not exist before that, nor afterwards. It may belong to
 * another host, and is then left alone. Owner: the verb `run`. Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_READY_FILE_H
#define BERTH_HOST_CONTROL_READY_FILE_H

#include <stdbool.h>

struct error;
struct runtime;

enum { READY_FILE_RETRY_MS = 100 };

struct ready_file {
    const char *path; /* NULL: no ready file is wanted */
    char *text;       /* what was written; NULL: nothing yet */
    bool unread;      /* it is a named pipe that has had no reader yet */
};

/* Call it first. With `clear`, it removes the file of an earlier host, unless that host still
 * serves. A supervisor's next host does not clear it, because it continues with the sockets of
 * the crashed one. False: the path cannot be a ready file. */
bool ready_file_init(struct ready_file *file, const char *path, const char *manifest, bool clear,
                     struct error *error);

/* Writes the addresses of the host. A pipe without a reader is no failure: see below. */
bool ready_file_write(struct ready_file *file, const struct runtime *runtime, struct error *error);

/* Call it every READY_FILE_RETRY_MS while `unread`: it writes once there is a reader. */
void ready_file_look(struct ready_file *file);

/* Removes the file if this host wrote it. */
void ready_file_fini(struct ready_file *file);

#endif
