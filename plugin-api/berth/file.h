/* file.h: the extension "berth.file/1": sending files, and packets mixed of memory and files.
 *
 * Source: TransmitFile and TransmitPackets of Winsock; splice(2) and sendfile(2). */
#ifndef BERTH_FILE_H
#define BERTH_FILE_H

#include "buffer.h"
#include "connection.h"
#include "status.h"

BERTH_BEGIN_DECLS

#define BERTH_FILE_ID "berth.file/1"

struct berth_file; /* an open file of the host's, reference-counted */

/* Asked for with stat(). The caller sets struct_size to the size of its struct; the host fills
 * what fits, and sets struct_size to what it has filled. */
struct berth_file_info {
    uint32_t struct_size;
    uint32_t reserved;
    uint64_t size;
    int64_t modified_unix_ms;
    /* These tell one version of a file from another. */
    int64_t modified_unix_ns;
    int64_t changed_unix_ns; /* of its bytes or its attributes: no program can set it */
    uint64_t volume;         /* volume and id together identify the file */
    uint64_t id[2];
};

/* A piece of a packet: memory when `file` is NULL, else a range of the file. Never changes its
 * layout. */
struct berth_piece {
    struct berth_slice memory;
    struct berth_file *file;
    uint64_t offset;
    uint64_t size; /* bytes of the file; UINT64_MAX: to its end as it is when the send begins */
};

struct berth_file_host {
    uint32_t struct_size;
    uint32_t reserved;

    /* Opens a regular file for reading, with one reference; other programs may still write, rename
     * and remove it. May block: only in [control] calls and in works (work.h). The path is UTF-8.
     * `error` may be NULL. BERTH_E_NOT_FOUND, BERTH_E_DENIED, BERTH_E_INVALID (a folder, a pipe,
     * …), BERTH_E_NO_MEMORY (or descriptors), BERTH_E_FAILED. [control], [any] in a work */
    int32_t(BERTH_CALL *open)(const struct berth_host *host, const char *path,
                              struct berth_file **file, struct berth_error *error);

    /* Fills *info up to info->struct_size, and sets struct_size. BERTH_E_FAILED;
     * BERTH_E_INVALID: the plugin holds no reference to the file, a fault (buffer.h). [any] */
    int32_t(BERTH_CALL *stat)(struct berth_file *file, struct berth_file_info *info);

    /* Reads at most `size` bytes at that offset and sets *got, to 0 only at the end of the file.
     * May block: only in [control] calls and in works. BERTH_E_FAILED; BERTH_E_INVALID: as stat(),
     * or an offset that no file can have, or no bytes. [control], [any] in a work */
    int32_t(BERTH_CALL *read)(struct berth_file *file, uint64_t offset, void *bytes, uint32_t size,
                              uint32_t *got);

    /* acquire() adds a reference to a file of which the plugin holds one, and release() gives one
     * back. NULL is legal for release. Any other use is a fault (buffer.h). [any] */
    void(BERTH_CALL *acquire)(struct berth_file *file);
    void(BERTH_CALL *release)(struct berth_file *file);

    /* Queues the pieces in order, after all that was queued before; consumes one reference of
     * every buffer and file, also when it fails. Bytes of files do not count towards
     * "limits.send_queue_bytes". A file that turns out to be shorter ends the connection: what
     * there is of it is sent, then a FIN; `closed` gets BERTH_CLOSED_FILE_SHORT, and the log
     * says so. A piece has either memory, as send_slices() takes it, or a file, and then the sum of
     * offset and size is at most INT64_MAX; else it is a fault (buffer.h),
     * BERTH_E_INVALID, and none of this call is sent. BERTH_E_UNSUPPORTED, and none of it is sent:
     * a `reserved` that is not 0. Other errors as berth_host.send(). [conn] */
    int32_t(BERTH_CALL *send_pieces)(struct berth_conn *conn, const struct berth_piece *pieces,
                                     uint32_t count);
};

BERTH_END_DECLS

#endif
