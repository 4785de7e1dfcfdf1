/* os_windows_pe.c: whether a library's file is whole.
 *
 * The system looks at what it maps and refuses what is not there, but not at what lies behind that
 * in the file: one whose copying is under way may load and be another one a moment later. */
#include <windows.h>

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "os/os.h"

enum { SYMBOL_BYTES = 18, STRINGS_MIN = 4 };

static bool is_within(size_t size, uint64_t offset, uint64_t length) {
    return offset <= size && length <= size - offset;
}

/* What the headers say, of the sections and of the symbols behind them. */
static bool is_whole(const char *bytes, size_t size, const IMAGE_FILE_HEADER *header,
                     uint64_t sections_at) {
    uint64_t symbols = (uint64_t)header->NumberOfSymbols * SYMBOL_BYTES;
    if (!is_within(size, sections_at,
                   (uint64_t)header->NumberOfSections * sizeof(IMAGE_SECTION_HEADER)) ||
        (header->PointerToSymbolTable != 0 &&
         !is_within(size, header->PointerToSymbolTable, symbols + STRINGS_MIN))) {
        return false;
    }
    if (header->PointerToSymbolTable != 0) {
        uint32_t strings;
        uint64_t strings_at = header->PointerToSymbolTable + symbols;
        memcpy(&strings, bytes + strings_at, sizeof(strings));
        if (!is_within(size, strings_at, strings)) {
            return false;
        }
    }
    for (WORD i = 0; i < header->NumberOfSections; i++) {
        IMAGE_SECTION_HEADER section;
        memcpy(&section, bytes + sections_at + i * sizeof(section), sizeof(section));
        if (section.PointerToRawData != 0 &&
            !is_within(size, section.PointerToRawData, section.SizeOfRawData)) {
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

/* The loader's own word for it is error 193, "not a valid Win32 application". */
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

static bool check(const char *bytes, size_t size, struct error *error) {
    IMAGE_DOS_HEADER dos;
    DWORD signature;
    IMAGE_FILE_HEADER header;
    if (size < sizeof(dos)) {
        return error_set(error, "it is no library");
    }
    memcpy(&dos, bytes, sizeof(dos));
    uint64_t at = (uint32_t)dos.e_lfanew;
    if (dos.e_magic != IMAGE_DOS_SIGNATURE ||
        !is_within(size, at, sizeof(signature) + sizeof(header))) {
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
    return is_whole(bytes, size, &header, sections_at) ||
           error_set(error, "it is not complete: %zu bytes are there", size);
}

bool os_library_check(const char *path, uint64_t bytes_max, struct error *error) {
    char *bytes;
    size_t size;
    if (!os_file_read(path, (size_t)bytes_max, &bytes, &size, error)) {
        return false;
    }
    bool whole = check(bytes, size, error);
    alloc_free(bytes);
    return whole;
}
