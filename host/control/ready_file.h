/* ready_file.h: the file of --ready-file, from before the start until the end.
 *
 * It says that a host serves, so it must not be there before that, nor afterwards; and it may be
 * that of another host, which is then left alone. Owner: the verb `run`. Threads: [control]. */
#ifndef BERTH_HOST_CONTROL_READY_FILE_H
#define BERTH_HOST_CONTROL_READY_FILE_H

#include <stdbool.h>

struct error;
struct runtime;

enum { READY_FILE_RETRY_MS = 100 };

struct ready_file {
    const char *path; /* NULL: nobody wants one */
    char *text;       /* what was written; NULL: nothing yet */
    bool unread;      /* a named pipe without a reader, so far */
};

/* Before anything else: what an earlier host has left goes, if it is to be cleared: a supervisor's
 * next host goes on with the sockets of the one that crashed. False: it cannot be such a file. */
bool ready_file_init(struct ready_file *file, const char *path, const char *manifest, bool clear,
                     struct error *error);

/* Says where the host listens now. A pipe without a reader is no failure: see below. */
bool ready_file_write(struct ready_file *file, const struct runtime *runtime, struct error *error);

/* To be called every READY_FILE_RETRY_MS while `unread`: writes once there is a reader. */
void ready_file_look(struct ready_file *file);

/* Removes the file if it is still ours. */
void ready_file_fini(struct ready_file *file);

#endif
