/* Copies of the files and folders that a config names, for a plugin that writes to them. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "devkit/fuzz.h"
#include "manifest/manifest.h"
#include "os/os.h"

enum { FILES_MAX = 1000, BYTES_MAX = 16 * 1024 * 1024, DEPTH_MAX = 16 };

struct copying {
    const char *folder; /* base of relative paths in the config */
    char place[OS_PATH_MAX];
    unsigned count; /* copies */
    size_t files;
    size_t bytes;
    struct error *error;
};

/* A folder while its entries are visited. */
struct visit {
    struct copying *copying;
    const char *from;
    const char *to;
    unsigned depth;
    bool good;
};

static bool fuzz_copy_stop_at_once(void *context, const char *name) {
    (void)context;
    (void)name;
    return false;
}

static bool fuzz_copy_is_folder(const char *path) {
    struct error error;
    return os_folder_visit(path, fuzz_copy_stop_at_once, NULL, &error);
}

static bool fuzz_copy_remove_entry(void *context, const char *name) {
    char path[OS_PATH_MAX];
    if (os_path_join(path, sizeof(path), context, name) && !os_file_remove(path)) {
        struct error error;
        os_folder_visit(path, fuzz_copy_remove_entry, path, &error);
        os_folder_remove(path);
    }
    return true;
}

static bool place_of(char *path, size_t size, const char *scratch) {
    return os_path_join(path, size, scratch, "copies");
}

void fuzz_copy_remove(const char *scratch) {
    char path[OS_PATH_MAX];
    struct error error;
    if (place_of(path, sizeof(path), scratch) && fuzz_copy_is_folder(path)) {
        os_folder_visit(path, fuzz_copy_remove_entry, path, &error);
        os_folder_remove(path);
    }
}

static bool fuzz_copy_file(struct copying *copying, const char *from, const char *to) {
    char *text = NULL;
    size_t size = 0;
    if (copying->files++ == FILES_MAX) {
        return error_set(copying->error, "more than %d files", FILES_MAX);
    }
    if (!os_file_read(from, BYTES_MAX - copying->bytes, &text, &size, copying->error)) {
        return error_prefix(copying->error, "%s ", from);
    }
    copying->bytes += size;
    bool good = os_file_write_new(to, text, size, copying->error) ||
                error_prefix(copying->error, "writing %s: ", to);
    alloc_free(text);
    return good;
}

static bool copy_any(struct copying *copying, const char *from, const char *to, unsigned depth);

static bool copy_entry(void *context, const char *name) {
    struct visit *visit = context;
    char from[OS_PATH_MAX];
    char to[OS_PATH_MAX];
    visit->good = (os_path_join(from, sizeof(from), visit->from, name) &&
                   os_path_join(to, sizeof(to), visit->to, name)) ||
                  error_set(visit->copying->error, "a path in it is too long");
    visit->good = visit->good && copy_any(visit->copying, from, to, visit->depth + 1);
    return visit->good;
}

/* Anything that is neither a file nor a folder is skipped. */
static bool copy_any(struct copying *copying, const char *from, const char *to, unsigned depth) {
    if (os_file_exists(from)) {
        return fuzz_copy_file(copying, from, to);
    }
    if (!fuzz_copy_is_folder(from)) {
        return true;
    }
    if (depth == DEPTH_MAX) {
        return error_set(copying->error, "folders within folders, more than %d", DEPTH_MAX);
    }
    struct visit visit = {copying, from, to, depth, true};
    return (os_folder_create(to, copying->error) ||
            error_prefix(copying->error, "making %s: ", to)) &&
           os_folder_visit(from, copy_entry, &visit, copying->error) && visit.good;
}

/* A file system's root is excluded: such a string is probably a URL path. */
static bool is_path(const char *text) {
    size_t length = strlen(text);
    while (length > 0 && strchr("/\\", text[length - 1])) {
        length--;
    }
    return length > 0 && text[length - 1] != ':';
}

static bool copy_named(void *context, const char *text, char *other, size_t size) {
    struct copying *copying = context;
    char from[OS_PATH_MAX];
    char name[16];
    if (!is_path(text) || !os_path_join(from, sizeof(from), copying->folder, text) ||
        (!os_file_exists(from) && !fuzz_copy_is_folder(from))) {
        return true;
    }
    snprintf(name, sizeof(name), "%u", copying->count++);
    return ((os_path_join(other, size, copying->place, name) ||
             error_set(copying->error, "the path of its copy is too long")) &&
            copy_any(copying, from, other, 0)) ||
           error_prefix(copying->error,
                        "\"%.200s\", which the config names, is not copied (for a plugin that "
                        "writes to it; --in-place gives it the original): ",
                        text);
}

bool fuzz_copy(const char *scratch, const char *folder, const char *config, char **copied,
               struct error *error) {
    struct copying copying = {.folder = folder, .error = error};
    *copied = NULL;
    fuzz_copy_remove(scratch);
    if (!place_of(copying.place, sizeof(copying.place), scratch)) {
        return error_set(error, "the path of %s is too long", scratch);
    }
    if (!os_folder_create(copying.place, error)) {
        return error_prefix(error, "making %s: ", copying.place);
    }
    *copied = manifest_json_change(config, copy_named, &copying, error);
    return *copied != NULL;
}
