/* os_windows_link.c: gives a plugin its own copies of the libraries that it needs.
 *
 * A library that another one imports is known by its base name: when one of that name is mapped
 * already, every importer gets that one, wherever it came from and whatever flags the search has
 * (Dynamic-Link Library Search Order, "factors that affect searching"). The exception is a name
 * that the activation context redirects: side-by-side assemblies exist so that a process can have
 * two libraries of one name. So the folder of the private copies also has the manifest of a private
 * assembly, which has these libraries as its files, and a manifest that depends on it; both are
 * made into an activation context, which is active while the plugin is loaded. */
#include <windows.h>

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/macros.h"
#include "os/os.h"
#include "os/os_private.h"
#include "os/os_windows.h"

#define IDENTITY "type=\"win32\" name=\"berth.libraries\" version=\"1.0.0.0\""

static const char root_name[] = "berth.plugin.manifest";
static const char assembly_name[] = "berth.libraries.manifest";

static const char head[] = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\r\n"
                           "<assembly xmlns=\"urn:schemas-microsoft-com:asm.v1\" "
                           "manifestVersion=\"1.0\">\r\n";
static const char root_body[] =
    "<assemblyIdentity type=\"win32\" name=\"berth.plugin\" version=\"1.0.0.0\"/>\r\n"
    "<dependency><dependentAssembly><assemblyIdentity " IDENTITY
    "/></dependentAssembly></dependency>\r\n";
static const char tail[] = "</assembly>\r\n";

struct assembly {
    char *text;
    size_t size;
    unsigned libraries;
    bool failed;
};

static void windows_link_add_text(struct assembly *assembly, const char *text) {
    size_t length = strlen(text);
    char *grown = alloc_resize(assembly->text, assembly->size + length + 1);
    if (!grown) {
        assembly->failed = true;
        return;
    }
    memcpy(grown + assembly->size, text, length + 1);
    assembly->text = grown;
    assembly->size += length;
}

/* Characters that are special in XML are written as character references. */
static void windows_link_add_escaped(struct assembly *assembly, const char *text) {
    for (; *text; text++) {
        char one[16];
        bool plain = !strchr("<>&\"'", *text);
        snprintf(one, sizeof(one), plain ? "%c" : "&#%d;", *text);
        windows_link_add_text(assembly, one);
    }
}

static bool windows_link_add_library(void *context, const char *name) {
    struct assembly *assembly = context;
    size_t length = strlen(name);
    if (length > 4 && _stricmp(name + length - 4, ".dll") == 0) {
        windows_link_add_text(assembly, "<file name=\"");
        windows_link_add_escaped(assembly, name);
        windows_link_add_text(assembly, "\"/>\r\n");
        assembly->libraries++;
    }
    return !assembly->failed;
}

static bool write_manifest(const char *folder, const char *name, const struct assembly *assembly,
                           struct error *error) {
    char path[OS_PATH_MAX];
    if (assembly->failed) {
        return error_set(error, "out of memory");
    }
    return (os_path_join(path, sizeof(path), folder, name) ||
            error_set(error, "the path is too long")) &&
           os_file_write_atomic(path, assembly->text, assembly->size, error);
}

bool os_copy_join(const struct os_copy *copy, const char *alias, struct error *error) {
    char folder[OS_PATH_MAX];
    struct assembly root = {0};
    struct assembly assembly = {0};
    (void)alias; /* no library imports a plugin */
    if (!os_path_folder(folder, sizeof(folder), os_copy_path(copy))) {
        return error_set(error, "the path is too long");
    }
    windows_link_add_text(&root, head);
    windows_link_add_text(&root, root_body);
    windows_link_add_text(&root, tail);
    windows_link_add_text(&assembly, head);
    windows_link_add_text(&assembly, "<assemblyIdentity " IDENTITY "/>\r\n");
    bool good = os_folder_visit(folder, windows_link_add_library, &assembly, error);
    windows_link_add_text(&assembly, tail);
    good = good && write_manifest(folder, assembly_name, &assembly, error) &&
           write_manifest(folder, root_name, &root, error);
    alloc_free(root.text);
    alloc_free(assembly.text);
    return good;
}

bool os_copy_original(const struct os_copy *copy, const char *name, char *path, size_t size) {
    char folder[OS_PATH_MAX];
    return os_path_folder(folder, sizeof(folder), os_copy_path(copy)) &&
           os_path_join(path, size, folder, name);
}

/* -- while it is loaded ---------------------------------------------------- */

bool windows_libraries_enter(struct windows_libraries *libraries, const char *path,
                             struct error *error) {
    char folder[OS_PATH_MAX];
    char manifest[OS_PATH_MAX];
    wchar_t wide[WINDOWS_PATH_MAX];
    ULONG_PTR cookie = 0;
    libraries->context = INVALID_HANDLE_VALUE;
    if (!os_path_folder(folder, sizeof(folder), path) ||
        !os_path_join(manifest, sizeof(manifest), folder, root_name) || !os_file_exists(manifest)) {
        return true;
    }
    if (!windows_path(manifest, wide, ARRAY_COUNT(wide), error)) {
        return false;
    }
    ACTCTXW context = {.cbSize = sizeof(context), .lpSource = wide};
    HANDLE made = CreateActCtxW(&context);
    if (made == INVALID_HANDLE_VALUE || !ActivateActCtx(made, &cookie)) {
        DWORD code = GetLastError();
        if (made != INVALID_HANDLE_VALUE) {
            ReleaseActCtx(made);
        }
        windows_error_set(error, code);
        return error_prefix(error, "making the libraries beside it its own: ");
    }
    libraries->context = made;
    libraries->cookie = cookie;
    return true;
}

void windows_libraries_leave(const struct windows_libraries *libraries) {
    if (libraries->context != INVALID_HANDLE_VALUE) {
        DeactivateActCtx(0, libraries->cookie);
        ReleaseActCtx(libraries->context);
    }
}
