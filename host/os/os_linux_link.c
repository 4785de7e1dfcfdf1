/* os_linux_link.c: gives a plugin its own copies of the libraries that it needs.
 *
 * The loader identifies a library by the name that another one needs ("libfoo.so.1") and by its
 * soname. A second library of that name is not loaded at all: a library that needs it gets the
 * first one, which may be another plugin's, or that of an older generation. A name with a slash is
 * a path, and means that file and no other. So in the private copies each name of a library in the
 * plugin's folder is replaced by the path of its private copy, and sonames are left out.
 *
 * The new names do not fit into the place of the old ones. They are appended to the file, with the
 * table of names, the dynamic section and the program headers, as one more segment; the loader
 * finds all three through the headers. Nothing else of the file changes. */
#include <elf.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "os/os.h"
#include "os/os_private.h"

enum { PAGE_BYTES = 65536 }; /* the largest page size of any machine */

/* A library that is changed is kept unchanged under this prefix. */
static const char original_prefix[] = ".original-";

struct library {
    char *name; /* of the file */
    char *bytes;
    size_t size;
    const Elf64_Ehdr *header; /* NULL: the file is not a library */
    const Elf64_Phdr *segments;
    const Elf64_Dyn *dynamic;
    size_t dynamic_count; /* with the null at its end */
    const char *strings;
    uint64_t strings_size;
    const char *soname; /* or NULL */
};

struct folder {
    const char *path;
    const char *main;  /* the name of the plugin's copy */
    const char *alias; /* what it was called before */
    struct library *items;
    size_t count;
    bool failed;
    struct error *error;
};

static void *linux_link_within(const struct library *library, uint64_t offset, uint64_t length) {
    return offset <= library->size && length <= library->size - offset ? library->bytes + offset
                                                                       : NULL;
}

/* The position in the file of what is loaded at that address; NULL: it is not in the file. */
static void *linux_link_loaded(const struct library *library, uint64_t address, uint64_t length) {
    for (uint16_t i = 0; i < library->header->e_phnum; i++) {
        const Elf64_Phdr *one = &library->segments[i];
        if (one->p_type == PT_LOAD && address >= one->p_vaddr &&
            address - one->p_vaddr <= one->p_filesz &&
            length <= one->p_filesz - (address - one->p_vaddr)) {
            return linux_link_within(library, one->p_offset + (address - one->p_vaddr), length);
        }
    }
    return NULL;
}

static uint64_t dynamic_value(const struct library *library, int64_t tag) {
    for (size_t i = 0; i < library->dynamic_count; i++) {
        if (library->dynamic[i].d_tag == tag) {
            return library->dynamic[i].d_un.d_val;
        }
    }
    return 0;
}

/* NULL: the offset is not within the table, or the string does not end there. */
static const char *string_at(const struct library *library, uint64_t offset) {
    bool ends = offset < library->strings_size &&
                memchr(library->strings + offset, '\0', library->strings_size - offset);
    return ends ? library->strings + offset : NULL;
}

static bool read_dynamic(struct library *library) {
    for (uint16_t i = 0; i < library->header->e_phnum; i++) {
        const Elf64_Phdr *one = &library->segments[i];
        if (one->p_type == PT_DYNAMIC && one->p_offset % _Alignof(Elf64_Dyn) == 0) {
            library->dynamic = linux_link_within(library, one->p_offset, one->p_filesz);
            size_t room = library->dynamic ? one->p_filesz / sizeof(Elf64_Dyn) : 0;
            while (library->dynamic_count < room &&
                   library->dynamic[library->dynamic_count].d_tag != DT_NULL) {
                library->dynamic_count++;
            }
            return library->dynamic_count++ < room;
        }
    }
    return false;
}

/* What os_library_check() has found to be whole. */
static bool read_library(struct library *library) {
    library->header = linux_link_within(library, 0, sizeof(*library->header));
    library->segments =
        linux_link_within(library, library->header->e_phoff,
                          (uint64_t)library->header->e_phnum * sizeof(*library->segments));
    if (!library->segments || !read_dynamic(library)) {
        return false;
    }
    library->strings_size = dynamic_value(library, DT_STRSZ);
    library->strings =
        linux_link_loaded(library, dynamic_value(library, DT_STRTAB), library->strings_size);
    uint64_t soname = dynamic_value(library, DT_SONAME);
    library->soname = library->strings && soname > 0 ? string_at(library, soname) : NULL;
    return library->strings != NULL;
}

/* -- the libraries of the folder ------------------------------------------- */

static bool linux_link_add_library(void *context, const char *name) {
    struct folder *folder = context;
    char path[OS_PATH_MAX];
    struct library library = {0};
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        return true;
    }
    if (!os_path_join(path, sizeof(path), folder->path, name) ||
        !os_file_read(path, SIZE_MAX, &library.bytes, &library.size, folder->error)) {
        folder->failed = true;
        return false;
    }
    bool is_library =
        library.size >= sizeof(Elf64_Ehdr) && memcmp(library.bytes, ELFMAG, SELFMAG) == 0;
    if (!is_library) {
        alloc_free(library.bytes);
        return true;
    }
    struct library *grown = alloc_resize(folder->items, (folder->count + 1) * sizeof(*grown));
    folder->items = grown ? grown : folder->items;
    library.name = grown ? alloc_string(name) : NULL;
    bool good = library.name || error_set(folder->error, "out of memory");
    good = good && os_library_check(path, UINT64_MAX, folder->error) &&
           (read_library(&library) || error_set(folder->error, "its headers make no sense"));
    if (!good) {
        error_prefix(folder->error, "%s: ", name);
        alloc_free(library.name);
        alloc_free(library.bytes);
        folder->failed = true;
        return false;
    }
    folder->items[folder->count++] = library;
    return true;
}

/* By the name of the file, or by its soname, if the symbolic link of that name is missing. */
static const struct library *find_library(const struct folder *folder, const char *needed) {
    const char *slash = strrchr(needed, '/');
    const char *name = slash ? slash + 1 : needed;
    if (strcmp(name, folder->alias) == 0) {
        name = folder->main;
    }
    for (size_t i = 0; i < folder->count; i++) {
        if (strcmp(folder->items[i].name, name) == 0) {
            return &folder->items[i];
        }
    }
    for (size_t i = 0; i < folder->count; i++) {
        if (folder->items[i].soname && strcmp(folder->items[i].soname, name) == 0) {
            return &folder->items[i];
        }
    }
    return NULL;
}

/* -- what is appended ------------------------------------------------------ */

struct addition {
    const struct folder *folder;
    const struct library *library;
    char *bytes; /* the whole new file */
    size_t size;
    uint64_t at;      /* where the addition begins, in the file */
    uint64_t address; /* and in memory */
    uint64_t dynamic; /* in the addition */
    uint64_t strings;
    uint64_t strings_size; /* so far */
};

static uint64_t round_up(uint64_t value, uint64_t unit) {
    return (value + unit - 1) / unit * unit;
}

/* Appends the library's path to the new table, which has room for it; returns its offset. */
static uint64_t add_path(struct addition *addition, const struct library *library) {
    char *to = addition->bytes + addition->at + addition->strings + addition->strings_size;
    uint64_t offset = addition->strings_size;
    addition->strings_size +=
        (uint64_t)sprintf(to, "%s/%s", addition->folder->path, library->name) + 1;
    return offset;
}

/* Makes room for all paths, one for each entry of the dynamic section and of the version needs. */
static bool make_addition(struct addition *addition, struct error *error) {
    const struct library *library = addition->library;
    uint64_t end = 0;
    uint64_t headers = ((uint64_t)library->header->e_phnum + 1) * sizeof(Elf64_Phdr);
    for (uint16_t i = 0; i < library->header->e_phnum; i++) {
        const Elf64_Phdr *one = &library->segments[i];
        if (one->p_type == PT_LOAD && one->p_vaddr + one->p_memsz > end) {
            end = one->p_vaddr + one->p_memsz;
        }
    }
    uint64_t paths = (library->dynamic_count + dynamic_value(library, DT_VERNEEDNUM)) * OS_PATH_MAX;
    addition->at = round_up(library->size, PAGE_BYTES);
    addition->address = round_up(end, PAGE_BYTES);
    addition->dynamic = round_up(headers, sizeof(Elf64_Dyn));
    addition->strings = addition->dynamic + library->dynamic_count * sizeof(Elf64_Dyn);
    addition->bytes =
        alloc_zeroed(addition->at + addition->strings + library->strings_size + paths);
    if (!addition->bytes) {
        error_set(error, "out of memory");
        return false;
    }
    memcpy(addition->bytes, library->bytes, library->size);
    memcpy(addition->bytes + addition->at + addition->strings, library->strings,
           library->strings_size);
    addition->strings_size = library->strings_size;
    return true;
}

static void write_dynamic(struct addition *addition) {
    const struct library *library = addition->library;
    Elf64_Dyn *to = (void *)(addition->bytes + addition->at + addition->dynamic);
    for (size_t i = 0; i < library->dynamic_count; i++) {
        Elf64_Dyn one = library->dynamic[i];
        if (one.d_tag == DT_SONAME) {
            continue; /* so the table has one more null entry at its end */
        }
        if (one.d_tag == DT_NEEDED) {
            const char *needed = string_at(library, one.d_un.d_val);
            const struct library *found = needed ? find_library(addition->folder, needed) : NULL;
            one.d_un.d_val = found ? add_path(addition, found) : one.d_un.d_val;
        } else if (one.d_tag == DT_STRTAB) {
            one.d_un.d_ptr = addition->address + addition->strings;
        }
        *to++ = one;
    }
}

/* The version needs contain the name of the library, too, and the loader looks for that name. */
static void write_versions(struct addition *addition) {
    const struct library *library = addition->library;
    uint64_t address = dynamic_value(library, DT_VERNEED);
    uint64_t count = dynamic_value(library, DT_VERNEEDNUM);
    for (uint64_t i = 0; i < count; i++) {
        char *at = linux_link_loaded(library, address, sizeof(Elf64_Verneed));
        if (!at) {
            return;
        }
        Elf64_Verneed one;
        memcpy(&one, at, sizeof(one));
        const char *file = string_at(library, one.vn_file);
        const struct library *found = file ? find_library(addition->folder, file) : NULL;
        if (found) {
            one.vn_file = (Elf64_Word)add_path(addition, found);
            memcpy(addition->bytes + (at - library->bytes), &one, sizeof(one));
        }
        address += one.vn_next;
    }
}

/* The size is final when all names are in the table. */
static void write_strings_size(struct addition *addition) {
    Elf64_Dyn *entries = (void *)(addition->bytes + addition->at + addition->dynamic);
    for (size_t i = 0; entries[i].d_tag != DT_NULL; i++) {
        if (entries[i].d_tag == DT_STRSZ) {
            entries[i].d_un.d_val = addition->strings_size;
        }
    }
}

/* The new segment is after the others in the table, as its address is. */
static void write_headers(struct addition *addition) {
    const struct library *library = addition->library;
    uint16_t count = library->header->e_phnum;
    Elf64_Phdr *to = (void *)(addition->bytes + addition->at);
    Elf64_Ehdr *header = (void *)addition->bytes;
    uint16_t last = 0;
    for (uint16_t i = 0; i < count; i++) {
        last = library->segments[i].p_type == PT_LOAD ? i : last;
    }
    for (uint16_t i = 0; i < count; i++) {
        Elf64_Phdr one = library->segments[i];
        if (one.p_type == PT_DYNAMIC || one.p_type == PT_PHDR) {
            bool dynamic = one.p_type == PT_DYNAMIC;
            uint64_t at = dynamic ? addition->dynamic : 0;
            one.p_offset = addition->at + at;
            one.p_vaddr = one.p_paddr = addition->address + at;
            one.p_filesz = one.p_memsz = dynamic ? library->dynamic_count * sizeof(Elf64_Dyn)
                                                 : (count + 1u) * sizeof(Elf64_Phdr);
        }
        *to++ = one;
        if (i == last) {
            uint64_t size = addition->strings + addition->strings_size;
            *to++ = (Elf64_Phdr){.p_type = PT_LOAD,
                                 .p_flags = PF_R | PF_W,
                                 .p_offset = addition->at,
                                 .p_vaddr = addition->address,
                                 .p_paddr = addition->address,
                                 .p_filesz = size,
                                 .p_memsz = size,
                                 .p_align = PAGE_BYTES};
        }
    }
    header->e_phoff = addition->at;
    header->e_phnum++;
    addition->size = addition->at + addition->strings + addition->strings_size;
}

/* -- a library ------------------------------------------------------------- */

static bool needs_change(const struct folder *folder, const struct library *library) {
    bool needs = library->soname != NULL;
    for (size_t i = 0; i < library->dynamic_count && !needs; i++) {
        const char *needed = library->dynamic[i].d_tag == DT_NEEDED
                                 ? string_at(library, library->dynamic[i].d_un.d_val)
                                 : NULL;
        needs = needed && find_library(folder, needed);
    }
    return needs;
}

/* The path and the file are new: neither the loader nor another process has opened it. */
static bool replace_file(const struct folder *folder, const struct addition *addition) {
    const char *name = addition->library->name;
    char path[OS_PATH_MAX];
    char original[OS_PATH_MAX];
    char original_name[OS_PATH_MAX];
    snprintf(original_name, sizeof(original_name), "%s%s", original_prefix, name);
    return ((os_path_join(path, sizeof(path), folder->path, name) &&
             os_path_join(original, sizeof(original), folder->path, original_name)) ||
            error_set(folder->error, "the path is too long")) &&
           os_file_write_atomic(original, addition->library->bytes, addition->library->size,
                                folder->error) &&
           os_file_write_atomic(path, addition->bytes, addition->size, folder->error);
}

static bool make_own(const struct folder *folder, const struct library *library) {
    struct addition addition = {.folder = folder, .library = library};
    if (!needs_change(folder, library)) {
        return true;
    }
    bool good = make_addition(&addition, folder->error);
    if (good) {
        write_dynamic(&addition);
        write_versions(&addition);
        write_strings_size(&addition);
        write_headers(&addition);
        good = replace_file(folder, &addition);
    }
    alloc_free(addition.bytes);
    return good || error_prefix(folder->error, "%s: ", library->name);
}

bool os_copy_join(const struct os_copy *copy, const char *alias, struct error *error) {
    char path[OS_PATH_MAX];
    const char *slash = strrchr(os_copy_path(copy), '/');
    struct folder folder = {.path = path, .alias = alias, .error = error};
    if (!slash || !os_path_folder(path, sizeof(path), os_copy_path(copy))) {
        return error_set(error, "the path is too long");
    }
    folder.main = slash + 1;
    bool good = os_folder_visit(path, linux_link_add_library, &folder, error) && !folder.failed;
    for (size_t i = 0; i < folder.count && good; i++) {
        good = make_own(&folder, &folder.items[i]);
    }
    for (size_t i = 0; i < folder.count; i++) {
        alloc_free(folder.items[i].name);
        alloc_free(folder.items[i].bytes);
    }
    alloc_free(folder.items);
    return good;
}

bool os_copy_original(const struct os_copy *copy, const char *name, char *path, size_t size) {
    char folder[OS_PATH_MAX];
    char original[OS_PATH_MAX];
    snprintf(original, sizeof(original), "%s%s", original_prefix, name);
    return os_path_folder(folder, sizeof(folder), os_copy_path(copy)) &&
           ((os_path_join(path, size, folder, original) && os_file_exists(path)) ||
            os_path_join(path, size, folder, name));
}
