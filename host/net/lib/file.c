#include "net/lib/file.h"

#include "base/error.h"

struct berth_file *file_open(const char *path, struct handle_holder *holder, struct error *error) {
    struct berth_file *file = handle_alloc(sizeof(*file));
    if (!file) {
        error_set_kind(error, ERROR_KIND_EXHAUSTED, "out of memory");
        return NULL;
    }
    if (!os_file_open(&file->file, path, error)) {
        handle_free(&file->handle);
        return NULL;
    }
    handle_begin(&file->handle);
    file->holder = holder;
    if (holder) {
        holder->count(holder, 1);
    }
    return file;
}

void file_release(struct berth_file *file) {
    if (file && handle_release(&file->handle)) {
        os_file_close(&file->file);
        if (file->closed) {
            file->closed(file->context);
        }
        if (file->holder) {
            file->holder->count(file->holder, -1);
        }
        handle_free(&file->handle);
    }
}

bool file_plugin_holds(const struct berth_file *given) {
    return given && handle_change(given, HANDLE_COUNT_OF_PLUGIN, 0) != 0;
}

bool file_plugin_acquires(struct berth_file *given) {
    return given && handle_change(given, HANDLE_COUNT_OF_PLUGIN, HANDLE_ONE_OF_PLUGIN) != 0;
}

bool file_plugin_releases(struct berth_file *given) {
    struct berth_file *file = handle_object(given);
    bool released = handle_plugin_hands_over(given);
    if (released) {
        file_release(file);
    }
    return released;
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
