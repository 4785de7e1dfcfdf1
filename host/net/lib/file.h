/* file.h: files that plugins send, reference-counted.
 *
 * Owner: the holders of references; the last release closes the file. Threads: any. */
#ifndef BERTH_HOST_NET_LIB_FILE_H
#define BERTH_HOST_NET_LIB_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "berth/file.h"
#include "net/lib/handle.h"
#include "os/os.h"

struct error;

/* The host's side of the ABI's opaque type. */
struct berth_file {
    struct handle handle; /* first: a plugin gets this handle, and never the file's own address */
    struct os_file file;
    void (*closed)(void *context); /* called when it is closed; or NULL */
    void *context;
    struct handle_holder *holder; /* counts it, because it was opened for it; or NULL */
};

/* A regular file with one reference, or NULL. May block. */
struct berth_file *file_open(const char *path, struct handle_holder *holder, struct error *error);
/* How many bytes a run of the file has: `size`, or all up to its present end if that is
 * UINT64_MAX. */
uint64_t file_run(const struct berth_file *file, uint64_t offset, uint64_t size);

void file_release(struct berth_file *file); /* NULL is legal */

/* The handle that a plugin gets for a file. The other makes the host's only reference the
 * plugin's. */
static inline struct berth_file *file_given(struct berth_file *file) {
    return handle_give(&file->handle);
}

static inline void file_pass(struct berth_file *file) {
    handle_pass(&file->handle);
}

/* Whether the plugin holds the file; its acquire and release. False: it holds no reference. */
bool file_plugin_holds(const struct berth_file *given);
bool file_plugin_acquires(struct berth_file *given);
bool file_plugin_releases(struct berth_file *given);

#endif
