/* os_windows_pe.c: whether a library's file is whole.
 *
 * The system checks what it maps and refuses what is not there, but not what follows that in the
 * file: a file that is still being copied may load, and differ a moment later. */
#include <windows.h>

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "os/os.h"
#include "os/os_windows.h"

enum { SYMBOL_BYTES = 18, STRINGS_MIN = 4 };

static bool windows_pe_is_within(size_t size, uint64_t offset, uint64_t length) {
    return offset <= size && length <= size - offset;
}

/* Compares the size with what the headers say of the sections and of the symbols after them. */
static bool windows_pe_is_whole(const char *bytes, size_t size, const IMAGE_FILE_HEADER *header,
                                uint64_t sections_at) {
    uint64_t symbols = (uint64_t)header->NumberOfSymbols * SYMBOL_BYTES;
    if (!windows_pe_is_within(size, sections_at,
                              (uint64_t)header->NumberOfSections * sizeof(IMAGE_SECTION_HEADER)) ||
        (header->PointerToSymbolTable != 0 &&
         !windows_pe_is_within(size, header->PointerToSymbolTable, symbols + STRINGS_MIN))) {
        return false;
    }
    if (header->PointerToSymbolTable != 0) {
        uint32_t strings;
        uint64_t strings_at = header->PointerToSymbolTable + symbols;
        memcpy(&strings, bytes + strings_at, sizeof(strings));
        if (!windows_pe_is_within(size, strings_at, strings)) {
            return false;
        }
    }
    for (WORD i = 0; i < header->NumberOfSections; i++) {
        IMAGE_SECTION_HEADER section;
        memcpy(&section, bytes + sections_at + i * sizeof(section), sizeof(section));
        if (section.PointerToRawData != 0 &&
            !windows_pe_is_within(size, section.PointerToRawData, section.SizeOfRawData)) {
            return false;
        }
    }
    return true;
}

#if defined(_M_ARM64) || defined(__aarch64__)
enum { MACHINE = IMAGE_FILE_MACHINE_ARM64 };
#elif defined(_M_X64) || defined(__x86_64__)
enum { MACHINE = IMAGE_FILE_MACHINE_AMD64 };
#else
enum { MACHINE = IMAGE_FILE_MACHINE_I386 };
#endif

/* The loader itself only reports error 193, "not a valid Win32 application". */
static const char *machine_name(unsigned machine) {
    switch (machine) {
    case IMAGE_FILE_MACHINE_AMD64:
        return "x64";
    case IMAGE_FILE_MACHINE_ARM64:
        return "ARM64";
    case IMAGE_FILE_MACHINE_I386:
        return "x86 (32 bits)";
    case IMAGE_FILE_MACHINE_ARMNT:
        return "ARM (32 bits)";
    default:
        return NULL;
    }
}

static bool windows_pe_check(const char *bytes, size_t size, struct error *error) {
    IMAGE_DOS_HEADER dos;
    DWORD signature;
    IMAGE_FILE_HEADER header;
    if (size < sizeof(dos)) {
        return error_set(error, "it is no library");
    }
    memcpy(&dos, bytes, sizeof(dos));
    uint64_t at = (uint32_t)dos.e_lfanew;
    if (dos.e_magic != IMAGE_DOS_SIGNATURE ||
        !windows_pe_is_within(size, at, sizeof(signature) + sizeof(header))) {
        return error_set(error, "it is no library");
    }
    memcpy(&signature, bytes + at, sizeof(signature));
    memcpy(&header, bytes + at + sizeof(signature), sizeof(header));
    if (signature != IMAGE_NT_SIGNATURE || (header.Characteristics & IMAGE_FILE_DLL) == 0) {
        return error_set(error, "it is no library");
    }
    if (header.Machine != MACHINE) {
        char unknown[16];
        snprintf(unknown, sizeof(unknown), "machine 0x%04x", header.Machine);
        const char *known = machine_name(header.Machine);
        return error_set(error, "it is built for %s, and this host for %s: use the plugin's %s DLL",
                         known ? known : unknown, machine_name(MACHINE), machine_name(MACHINE));
    }
    uint64_t sections_at = at + sizeof(signature) + sizeof(header) + header.SizeOfOptionalHeader;
    return windows_pe_is_whole(bytes, size, &header, sections_at) ||
           error_set(error, "it is not complete: %zu bytes are there", size);
}

bool os_library_check(const char *path, uint64_t bytes_max, struct error *error) {
    char *bytes;
    size_t size;
    if (!os_file_read(path, (size_t)bytes_max, &bytes, &size, error)) {
        return false;
    }
    bool whole = windows_pe_check(bytes, size, error);
    alloc_free(bytes);
    return whole;
}

/* -- what it imports ------------------------------------------------------- */

enum { LIBRARIES_MAX = 256 };

/* The headers of a file that windows_pe_check() has found to be whole. */
struct image {
    const char *bytes;
    size_t size;
    IMAGE_NT_HEADERS headers;
    uint64_t sections_at;
};

static bool windows_pe_read_headers(struct image *image) {
    IMAGE_DOS_HEADER dos;
    if (image->size < sizeof(dos)) {
        return false;
    }
    memcpy(&dos, image->bytes, sizeof(dos));
    uint64_t at = (uint32_t)dos.e_lfanew;
    if (!windows_pe_is_within(image->size, at, sizeof(image->headers))) {
        return false;
    }
    memcpy(&image->headers, image->bytes + at, sizeof(image->headers));
    image->sections_at = at + offsetof(IMAGE_NT_HEADERS, OptionalHeader) +
                         image->headers.FileHeader.SizeOfOptionalHeader;
    return image->headers.Signature == IMAGE_NT_SIGNATURE &&
           image->headers.FileHeader.Machine == MACHINE;
}

/* What is loaded at that address, in the file, and how much of it is left there; NULL: nothing. */
static const char *windows_pe_loaded(const struct image *image, uint32_t address, size_t *left) {
    for (WORD i = 0; i < image->headers.FileHeader.NumberOfSections; i++) {
        IMAGE_SECTION_HEADER section;
        uint64_t at = image->sections_at + i * sizeof(section);
        if (!windows_pe_is_within(image->size, at, sizeof(section))) {
            return NULL;
        }
        memcpy(&section, image->bytes + at, sizeof(section));
        uint32_t within = address - section.VirtualAddress;
        if (address >= section.VirtualAddress && within < section.SizeOfRawData &&
            windows_pe_is_within(image->size, section.PointerToRawData, section.SizeOfRawData)) {
            *left = section.SizeOfRawData - within;
            return image->bytes + section.PointerToRawData + within;
        }
    }
    return NULL;
}

/* The libraries that are still to be checked, and those that have been. */
struct imports {
    char folder[OS_PATH_MAX];
    char (*names)[MAX_PATH];
    size_t count;
};

static void add_import(struct imports *imports, const char *name, size_t left) {
    size_t length = strnlen(name, left);
    if (length == left || length == 0 || length >= MAX_PATH || imports->count == LIBRARIES_MAX) {
        return;
    }
    for (size_t i = 0; i < imports->count; i++) {
        if (_stricmp(imports->names[i], name) == 0) {
            return;
        }
    }
    memcpy(imports->names[imports->count++], name, length + 1);
}

static void add_imports(struct imports *imports, const char *path) {
    struct image image = {0};
    char *bytes;
    size_t left = 0;
    if (!os_file_read(path, SIZE_MAX, &bytes, &image.size, NULL)) {
        return;
    }
    image.bytes = bytes;
    bool good = windows_pe_read_headers(&image);
    uint32_t address =
        good ? image.headers.OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_IMPORT]
                   .VirtualAddress
             : 0;
    const char *at = good && address != 0 ? windows_pe_loaded(&image, address, &left) : NULL;
    IMAGE_IMPORT_DESCRIPTOR one;
    while (at && left >= sizeof(one)) {
        memcpy(&one, at, sizeof(one));
        size_t name_left = 0;
        const char *name = one.Name != 0 ? windows_pe_loaded(&image, one.Name, &name_left) : NULL;
        if (!name) {
            break;
        }
        add_import(imports, name, name_left);
        at += sizeof(one);
        left -= sizeof(one);
    }
    alloc_free(bytes);
}

/* Mapped as data, so that none of its code runs. */
static bool is_of_system(const char *name) {
    wchar_t wide[MAX_PATH];
    if (_strnicmp(name, "api-", 4) == 0 || _strnicmp(name, "ext-", 4) == 0) {
        return true; /* an API set, which the system has or has not: not a file */
    }
    if (MultiByteToWideChar(CP_UTF8, 0, name, -1, wide, MAX_PATH) == 0) {
        return false;
    }
    HMODULE module =
        LoadLibraryExW(wide, NULL, LOAD_LIBRARY_AS_DATAFILE | LOAD_LIBRARY_SEARCH_SYSTEM32);
    if (module) {
        FreeLibrary(module);
    }
    return module != NULL;
}

bool windows_missing_library(const char *path, char *name, size_t size) {
    char file[OS_PATH_MAX];
    bool missing = false;
    struct imports imports = {.names = alloc_array(LIBRARIES_MAX, MAX_PATH)};
    if (!imports.names || !os_path_folder(imports.folder, sizeof(imports.folder), path)) {
        alloc_free(imports.names);
        return false;
    }
    add_imports(&imports, path);
    for (size_t i = 0; i < imports.count && !missing; i++) {
        if (os_path_join(file, sizeof(file), imports.folder, imports.names[i]) &&
            os_file_exists(file)) {
            add_imports(&imports, file);
        } else if (!is_of_system(imports.names[i])) {
            snprintf(name, size, "%s", imports.names[i]);
            missing = true;
        }
    }
    alloc_free(imports.names);
    return missing;
}
