/* os_linux_elf.c: what can be read from the file of a library before it is loaded.
 *
 * The loader maps what the headers say without checking it against the file: a file that is shorter
 * than they say, or whose end is not written yet, causes a SIGBUS or SIGSEGV inside dlopen(). So
 * this file checks before whether the library is whole.
 *
 * GNU's C++ gives some symbols (static members of templates, inline variables) the binding
 * STB_GNU_UNIQUE: the loader makes all libraries of the process share the first definition. Two
 * copies of such a library are not independent generations, and neither can be unloaded. */
#include <elf.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "os/os.h"

/* A run of the file's bytes, or NULL when it does not lie within. */
static const void *linux_elf_within(const char *bytes, size_t size, uint64_t offset,
                                    uint64_t length) {
    return offset <= size && length <= size - offset ? bytes + offset : NULL;
}

static const char *find_unique(const char *bytes, size_t size, const Elf64_Shdr *sections,
                               uint16_t count, const Elf64_Shdr *table, size_t *length) {
    const Elf64_Shdr *names = table->sh_link < count ? &sections[table->sh_link] : NULL;
    const char *text =
        names ? linux_elf_within(bytes, size, names->sh_offset, names->sh_size) : NULL;
    const Elf64_Sym *symbols = linux_elf_within(bytes, size, table->sh_offset, table->sh_size);
    for (uint64_t i = 0; text && symbols && i < table->sh_size / sizeof(*symbols); i++) {
        if (ELF64_ST_BIND(symbols[i].st_info) == STB_GNU_UNIQUE &&
            symbols[i].st_shndx != SHN_UNDEF && symbols[i].st_name < names->sh_size) {
            const char *name = text + symbols[i].st_name;
            *length = strnlen(name, (size_t)(names->sh_size - symbols[i].st_name));
            return name;
        }
    }
    return NULL;
}

static void linux_elf_look(const char *bytes, size_t size, char *symbol, size_t capacity) {
    const Elf64_Ehdr *header = linux_elf_within(bytes, size, 0, sizeof(*header));
    if (!header || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
        header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_shentsize != sizeof(Elf64_Shdr) ||
        header->e_shoff % _Alignof(Elf64_Shdr) != 0) {
        return; /* loading it will report the error */
    }
    const Elf64_Shdr *sections = linux_elf_within(bytes, size, header->e_shoff,
                                                  (uint64_t)header->e_shnum * sizeof(*sections));
    for (uint16_t i = 0; sections && i < header->e_shnum; i++) {
        size_t length;
        const char *name =
            sections[i].sh_type == SHT_DYNSYM && sections[i].sh_offset % _Alignof(Elf64_Sym) == 0
                ? find_unique(bytes, size, sections, header->e_shnum, &sections[i], &length)
                : NULL;
        if (name) {
            snprintf(symbol, capacity, "%.*s", (int)length, name);
            return;
        }
    }
}

/* -- whether it is whole --------------------------------------------------- */

#if defined(__x86_64__)
enum { MACHINE = EM_X86_64 };
#elif defined(__aarch64__)
enum { MACHINE = EM_AARCH64 };
#endif

struct image {
    const char *bytes;
    size_t size;
    const Elf64_Ehdr *header;
    const Elf64_Phdr *segments;
};

static bool check_header(struct image *image, struct error *error) {
    const Elf64_Ehdr *header = linux_elf_within(image->bytes, image->size, 0, sizeof(*header));
    if (!header || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) {
        return error_set(error, "it is no ELF file");
    }
    if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_machine != MACHINE) {
        return error_set(error, "it was built for another kind of machine");
    }
    if (header->e_type != ET_DYN) {
        return error_set(error, "it is an ELF file, but no shared library");
    }
    image->header = header;
    if (header->e_phentsize == sizeof(Elf64_Phdr) && header->e_phoff % _Alignof(Elf64_Phdr) == 0) {
        image->segments = linux_elf_within(image->bytes, image->size, header->e_phoff,
                                           (uint64_t)header->e_phnum * sizeof(Elf64_Phdr));
    }
    return image->segments || error_set(error, "it is not complete: its headers are missing");
}

/* The sections are last in a file: an unfinished file lacks their table first. */
static bool check_sections(const struct image *image, struct error *error) {
    const Elf64_Ehdr *header = image->header;
    if (header->e_shoff == 0) {
        return true; /* stripped of them */
    }
    const Elf64_Shdr *sections = NULL;
    if (header->e_shentsize == sizeof(Elf64_Shdr) && header->e_shoff % _Alignof(Elf64_Shdr) == 0) {
        sections = linux_elf_within(image->bytes, image->size, header->e_shoff,
                                    (uint64_t)header->e_shnum * sizeof(*sections));
    }
    bool named = sections && header->e_shstrndx < header->e_shnum &&
                 sections[header->e_shstrndx].sh_type == SHT_STRTAB;
    for (uint16_t i = 0; named && i < header->e_shnum; i++) {
        named =
            sections[i].sh_type == SHT_NOBITS ||
            linux_elf_within(image->bytes, image->size, sections[i].sh_offset, sections[i].sh_size);
    }
    return named || error_set(error, "it is not complete: its table of sections is missing");
}

/* Whether so many bytes at that address of the loaded library come from the file. */
static bool is_loaded(const struct image *image, uint64_t address, uint64_t length) {
    for (uint16_t i = 0; i < image->header->e_phnum; i++) {
        const Elf64_Phdr *one = &image->segments[i];
        if (one->p_type == PT_LOAD && address >= one->p_vaddr &&
            address - one->p_vaddr <= one->p_filesz &&
            length <= one->p_filesz - (address - one->p_vaddr)) {
            return true;
        }
    }
    return false;
}

static bool check_dynamic(const struct image *image, const Elf64_Phdr *segment,
                          struct error *error) {
    const Elf64_Dyn *entries =
        linux_elf_within(image->bytes, image->size, segment->p_offset, segment->p_filesz);
    uint64_t strings = 0;
    uint64_t strings_size = 0;
    uint64_t symbols = 0;
    uint64_t hash = 0;
    bool ended = false;
    if (segment->p_offset % _Alignof(Elf64_Dyn) != 0) {
        entries = NULL;
    }
    for (size_t i = 0; entries && !ended && i < segment->p_filesz / sizeof(*entries); i++) {
        uint64_t value = entries[i].d_un.d_val;
        int64_t tag = entries[i].d_tag;
        strings = tag == DT_STRTAB ? value : strings;
        strings_size = tag == DT_STRSZ ? value : strings_size;
        symbols = tag == DT_SYMTAB ? value : symbols;
        hash = tag == DT_HASH || tag == DT_GNU_HASH ? value : hash;
        ended = tag == DT_NULL;
    }
    bool sane = ended && strings != 0 && is_loaded(image, strings, strings_size) && symbols != 0 &&
                is_loaded(image, symbols, sizeof(Elf64_Sym)) && hash != 0 &&
                is_loaded(image, hash, sizeof(uint64_t) * 2);
    return sane || error_set(error, "it is not complete: what it tells the loader makes no sense");
}

static bool check_segments(const struct image *image, struct error *error) {
    bool dynamic = false;
    for (uint16_t i = 0; i < image->header->e_phnum; i++) {
        const Elf64_Phdr *one = &image->segments[i];
        if (one->p_type == PT_LOAD &&
            (one->p_memsz < one->p_filesz ||
             !linux_elf_within(image->bytes, image->size, one->p_offset, one->p_filesz))) {
            return error_set(error, "it is not complete: only %zu bytes of it are there",
                             image->size);
        }
        if (one->p_type == PT_DYNAMIC) {
            dynamic = true;
            if (!check_dynamic(image, one, error)) {
                return false;
            }
        }
    }
    return dynamic || error_set(error, "it is an ELF file, but no shared library");
}

bool os_library_check(const char *path, uint64_t bytes_max, struct error *error) {
    struct image image = {0};
    char *bytes;
    if (!os_file_read(path, bytes_max, &bytes, &image.size, error)) {
        return false;
    }
    image.bytes = bytes;
    bool whole = check_header(&image, error) && check_segments(&image, error) &&
                 check_sections(&image, error);
    alloc_free(bytes);
    return whole;
}

/* -- symbols --------------------------------------------------------------- */

void os_library_unique_symbol(const char *path, char *symbol, size_t size) {
    char *bytes;
    size_t length;
    symbol[0] = '\0';
    if (os_file_read(path, SIZE_MAX, &bytes, &length, NULL)) {
        linux_elf_look(bytes, length, symbol, size);
        alloc_free(bytes);
    }
}
