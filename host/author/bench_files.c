/* berth.file/1 of the bench: real files, read at once where they are sent. */
#include <string.h>
#include <utlist.h>

#include "author/bench_internal.h"
#include "base/alloc.h"
#include "base/error.h"

enum { CHUNK_BYTES = 16384 };

static int32_t status_of(enum error_kind kind) {
    switch (kind) {
    case ERROR_KIND_NOT_FOUND:
        return BERTH_E_NOT_FOUND;
    case ERROR_KIND_DENIED:
        return BERTH_E_DENIED;
    case ERROR_KIND_NOT_REGULAR:
        return BERTH_E_INVALID;
    case ERROR_KIND_EXHAUSTED:
        return BERTH_E_NO_MEMORY;
    case ERROR_KIND_OTHER:
    case ERROR_KIND_NO_READER:
    case ERROR_KIND_TAKEN:
        break;
    }
    return BERTH_E_FAILED;
}

/* What may block belongs into [control] and into work. */
static void check_may_block(struct bench *bench, const char *service) {
    bool on_worker = os_thread_id() == bench->thread &&
                     (bench->scope == BENCH_CONN || bench->scope == BENCH_CONN_CLOSED ||
                      bench->scope == BENCH_ANY);
    if (on_worker) {
        bench_find(bench, "blocks-a-worker", "%s() may block, and was called on an I/O worker",
                   service);
    }
}

static int32_t BERTH_CALL file_open(const struct berth_host *host, const char *path,
                                    struct berth_file **handle, struct berth_error *error) {
    struct bench *bench = bench_of(host);
    struct error why = {0};
    *handle = NULL;
    check_may_block(bench, "file.open");
    if ((bench->options.refuses & BENCH_REFUSES_FILES) != 0) {
        return berth_error_set(error, BERTH_E_NO_MEMORY, "no descriptors are left");
    }
    struct bench_file *file = alloc_zeroed(sizeof(*file));
    if (!file || !os_file_open(&file->file, path, &why)) {
        alloc_free(file);
        return berth_error_set(error, status_of(why.kind), "%s", why.message);
    }
    file->bench = bench;
    file->references = 1;
    os_mutex_lock(&bench->mutex);
    DL_APPEND(bench->files, file);
    os_mutex_unlock(&bench->mutex);
    *handle = (struct berth_file *)file;
    return BERTH_OK;
}

static bool is_held(struct bench_file *file, const char *service) {
    if (file->references == 0) {
        bench_find(file->bench, "file-used-after-release",
                   "%s() was given a file whose last reference was given back before", service);
    }
    return file->references > 0;
}

static int32_t BERTH_CALL file_stat(struct berth_file *handle, struct berth_file_info *info) {
    struct bench_file *file = (struct bench_file *)handle;
    struct os_file_status status;
    if (!is_held(file, "file.stat")) {
        return BERTH_E_INVALID;
    }
    if (!os_file_status(&file->file, &status, NULL)) {
        return BERTH_E_FAILED;
    }
    struct berth_file_info full = {
        .size = status.size,
        .modified_unix_ms = status.modified_unix_ms,
        .modified_unix_ns = status.modified_unix_ns,
        .changed_unix_ns = status.changed_unix_ns,
        .volume = status.volume,
        .id = {status.id[0], status.id[1]},
    };
    full.struct_size = info->struct_size < sizeof(full) ? info->struct_size : sizeof(full);
    memcpy(info, &full, full.struct_size);
    return BERTH_OK;
}

static int32_t BERTH_CALL file_read(struct berth_file *handle, uint64_t offset, void *bytes,
                                    uint32_t size, uint32_t *got) {
    struct bench_file *file = (struct bench_file *)handle;
    check_may_block(file->bench, "file.read");
    *got = 0;
    if (!is_held(file, "file.read") || offset > INT64_MAX || (!bytes && size > 0)) {
        return BERTH_E_INVALID;
    }
    int64_t result = os_file_read_at(&file->file, offset, bytes, size);
    *got = result > 0 ? (uint32_t)result : 0;
    return result >= 0 ? BERTH_OK : BERTH_E_FAILED;
}

/* Given-back ones stay in the list, closed, until the end: to be recognized. */
static void BERTH_CALL file_acquire(struct berth_file *handle) {
    struct bench_file *file = (struct bench_file *)handle;
    if (file->references == 0) {
        bench_find(file->bench, "file-used-after-release", "a file was acquired after its end");
        return;
    }
    os_mutex_lock(&file->bench->mutex);
    file->references++;
    os_mutex_unlock(&file->bench->mutex);
}

static void BERTH_CALL file_release(struct berth_file *handle) {
    struct bench_file *file = (struct bench_file *)handle;
    if (!file) {
        return;
    }
    if (file->references == 0) {
        bench_find(file->bench, "file-released-twice",
                   "a reference to a file was given back that was given back before");
        return;
    }
    os_mutex_lock(&file->bench->mutex);
    bool last = --file->references == 0;
    os_mutex_unlock(&file->bench->mutex);
    if (last) {
        os_file_close(&file->file);
    }
}

/* Whether all of the run was there. */
static bool queue_run(struct bench_conn *conn, const struct bench_file *file, uint64_t offset,
                      uint64_t size) {
    uint8_t chunk[CHUNK_BYTES];
    while (size > 0) {
        size_t wanted = size < sizeof(chunk) ? (size_t)size : sizeof(chunk);
        int64_t got = os_file_read_at(&file->file, offset, chunk, wanted);
        if (got <= 0 || !bytes_add(&conn->queue, chunk, (size_t)got)) {
            return size == UINT64_MAX || got > 0;
        }
        offset += (uint64_t)got;
        size -= size == UINT64_MAX ? 0 : (uint64_t)got;
    }
    return true;
}

/* What a file can have. */
static bool is_run(struct bench *bench, const struct berth_piece *piece) {
    bool good = piece->offset <= INT64_MAX &&
                (piece->size == UINT64_MAX || piece->size <= (uint64_t)INT64_MAX - piece->offset);
    if (!good) {
        bench_find(bench, "run-impossible",
                   "file.send_pieces() was given a run that no file can have");
    }
    return good;
}

/* Consumes its reference. */
static int32_t send_piece(struct bench_conn *conn, const struct berth_piece *piece,
                          int32_t status) {
    struct bench_file *file = (struct bench_file *)piece->file;
    if (!file) {
        if (!bench_slice_take(conn->bench, &piece->memory, "file.send_pieces")) {
            return BERTH_E_INVALID;
        }
        status = status == BERTH_OK ? bench_send_slice(conn, &piece->memory) : status;
        bench_buffer_release(piece->memory.buffer);
        return status;
    }
    if (!is_held(file, "file.send_pieces")) {
        return BERTH_E_INVALID;
    }
    if (!is_run(conn->bench, piece)) {
        status = BERTH_E_INVALID;
    } else if (status == BERTH_OK && !queue_run(conn, file, piece->offset, piece->size)) {
        bench_conn_finish(conn, BERTH_CLOSED_FILE_SHORT);
    }
    file_release(piece->file);
    return status;
}

static int32_t BERTH_CALL send_pieces(struct berth_conn *public, const struct berth_piece *pieces,
                                      uint32_t count) {
    struct bench_conn *conn = bench_conn_used(public, "file.send_pieces");
    int32_t status = conn ? bench_send_status(conn) : BERTH_E_STATE;
    for (uint32_t i = 0; i < count; i++) {
        status = send_piece((struct bench_conn *)public, &pieces[i], status);
    }
    return status;
}

static const struct berth_file_host file_host = {
    .struct_size = sizeof(file_host),
    .open = file_open,
    .stat = file_stat,
    .read = file_read,
    .acquire = file_acquire,
    .release = file_release,
    .send_pieces = send_pieces,
};

const void *bench_file_extension(void) {
    return &file_host;
}

void bench_files_check_left(struct bench *bench) {
    struct bench_file *file;
    DL_FOREACH(bench->files, file) {
        if (file->references > 0) {
            bench_find(bench, "file-leaked", "a file was never given back (%u references left)",
                       (unsigned)file->references);
        }
    }
}

void bench_files_free(struct bench *bench) {
    struct bench_file *file;
    struct bench_file *next;
    DL_FOREACH_SAFE(bench->files, file, next) {
        DL_DELETE(bench->files, file);
        if (file->references > 0) {
            os_file_close(&file->file);
        }
        alloc_free(file);
    }
}
