/* file.h: files that plugins send, reference-counted.
 *
 * Owner: whoever holds a reference; the last one closes the file. Threads: any. */
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
    struct handle handle; /* first: plugins are given it, and never the file's own address */
    struct os_file file;
    void (*closed)(void *context); /* run when it is closed; or NULL */
    void *context;
    struct handle_holder *holder; /* counts it, as it was opened for it; or NULL */
};

/* A regular file with one reference, or NULL. May block. */
struct berth_file *file_open(const char *path, struct handle_holder *holder, struct error *error);
/* How many bytes a run of the file has: `size`, or all to its present end where that is UINT64_MAX.
 */
uint64_t file_run(const struct berth_file *file, uint64_t offset, uint64_t size);

void file_release(struct berth_file *file); /* NULL is legal */

/* What a plugin is given for a file, and the host's only reference that becomes the plugin's. */
static inline struct berth_file *file_given(struct berth_file *file) {
    return handle_give(&file->handle);
}

static inline void file_pass(struct berth_file *file) {
    handle_pass(&file->handle);
}

/* The plugin has a file that it was given, acquires or releases it. False: it holds none. */
bool file_plugin_holds(const struct berth_file *given);
bool file_plugin_acquires(struct berth_file *given);
bool file_plugin_releases(struct berth_file *given);

#endif
