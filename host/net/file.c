#include "net/file.h"

#include "base/alloc.h"
#include "base/error.h"
#include "net/plugin_account.h"

struct berth_file *file_open(const char *path, struct plugin_account *holder, struct error *error) {
    struct berth_file *file = alloc_zeroed(sizeof(*file));
    if (!file) {
        error_set_kind(error, ERROR_KIND_EXHAUSTED, "out of memory");
        return NULL;
    }
    if (!os_file_open(&file->file, path, error)) {
        alloc_free(file);
        return NULL;
    }
    atomic_init(&file->references, 1);
    file->holder = holder;
    if (holder) {
        atomic_fetch_add(&holder->files, 1);
    }
    return file;
}

void file_acquire(struct berth_file *file) {
    atomic_fetch_add_explicit(&file->references, 1, memory_order_relaxed);
}

void file_release(struct berth_file *file) {
    if (file && atomic_fetch_sub_explicit(&file->references, 1, memory_order_acq_rel) == 1) {
        os_file_close(&file->file);
        if (file->holder) {
            atomic_fetch_sub(&file->holder->files, 1);
        }
        alloc_free(file);
    }
}

uint64_t file_run(const struct berth_file *file, uint64_t offset, uint64_t size) {
    struct os_file_status status;
    if (size != UINT64_MAX) {
        return size;
    }
    if (!os_file_status(&file->file, &status, NULL) || status.size <= offset) {
        return 0;
    }
    return status.size - offset;
}
