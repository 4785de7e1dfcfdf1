#include "control/ready_file.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "control/identity.h"
#include "control/startup_report.h"
#include "manifest/ready.h"
#include "os/os.h"

enum { BYTES_MAX = 16 * 1024 * 1024, ASK_MS = 1000 };

/* Whether the file was written by a host that still runs and accepts connections. */
static bool is_in_force(const char *path) {
    struct ready_author author;
    struct identity found;
    char *text;
    size_t size;
    if (!os_file_read(path, BYTES_MAX, &text, &size, NULL)) {
        return false;
    }
    bool in_force = ready_read(text, size, &author) &&
                    identity_of_name(author.name, ASK_MS, &found) && found.pid == author.pid &&
                    !found.stopping;
    alloc_free(text);
    return in_force;
}

bool ready_file_init(struct ready_file *file, const char *path, const char *manifest, bool clear,
                     struct error *error) {
    *file = (struct ready_file){.path = path};
    if (path && os_file_same(path, manifest)) {
        return error_set(error, "ready file %s: it is the manifest; name another file", path);
    }
    if (path && clear && !is_in_force(path)) {
        os_output_clear(path);
    }
    return true;
}

static bool ready_file_write_text(struct ready_file *file, struct error *error) {
    struct error why = {0};
    bool written = os_output_write(file->path, file->text, strlen(file->text), &why);
    bool unread = !written && why.kind == ERROR_KIND_NO_READER;
    if (unread && !file->unread) {
        log_warn(NULL, "ready file %s: %s: it is written when somebody does", file->path,
                 why.message);
    }
    file->unread = unread;
    return written || unread || error_set(error, "ready file %s: %s", file->path, why.message);
}

bool ready_file_write(struct ready_file *file, const struct runtime *runtime, struct error *error) {
    if (!file->path) {
        return true;
    }
    char *text = startup_report_text(runtime);
    if (!text) {
        return error_set(error, "ready file %s: out of memory", file->path);
    }
    alloc_free(file->text);
    file->text = text;
    return ready_file_write_text(file, error);
}

void ready_file_look(struct ready_file *file) {
    struct error error = {0};
    if (file->unread && !ready_file_write_text(file, &error)) {
        log_warn(NULL, "%s", error.message);
    }
}

static bool ready_file_is_own(const struct ready_file *file) {
    char *text;
    size_t size;
    if (!file->text || !os_file_read(file->path, BYTES_MAX, &text, &size, NULL)) {
        return false;
    }
    bool own = size == strlen(file->text) && memcmp(text, file->text, size) == 0;
    alloc_free(text);
    return own;
}

void ready_file_fini(struct ready_file *file) {
    if (file->path && ready_file_is_own(file)) {
        os_output_clear(file->path);
    }
    alloc_free(file->text);
    *file = (struct ready_file){0};
}
