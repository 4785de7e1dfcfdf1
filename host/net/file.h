/* file.h: files that plugins send, reference-counted.
 *
 * Owner: whoever holds a reference; the last one closes the file. Threads: any. */
#ifndef BERTH_HOST_NET_FILE_H
#define BERTH_HOST_NET_FILE_H

#include <stdatomic.h>

#include "berth/file.h"
#include "os/os.h"

struct error;
struct plugin_account;

/* The host's side of the ABI's opaque type. */
struct berth_file {
    atomic_uint references;
    struct os_file file;
    struct plugin_account *holder; /* the plugin that opened it, counted there; or NULL */
};

/* A regular file with one reference, or NULL. May block. */
struct berth_file *file_open(const char *path, struct plugin_account *holder, struct error *error);
/* How many bytes a run of the file has: `size`, or all to its present end where that is UINT64_MAX.
 */
uint64_t file_run(const struct berth_file *file, uint64_t offset, uint64_t size);

void file_acquire(struct berth_file *file);
void file_release(struct berth_file *file); /* NULL is legal */

#endif
