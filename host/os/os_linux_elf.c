/* os_linux_elf.c: what the symbol table of a library tells before it is loaded.
 *
 * GNU's C++ gives some symbols (static members of templates, inline variables) the binding
 * STB_GNU_UNIQUE: the loader makes all libraries of the process share the first one. Two copies of
 * such a library are no two generations, and neither can be unloaded. */
#include <elf.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "os/os.h"

enum { LIBRARY_BYTES_MAX = 256 * 1024 * 1024 };

/* A run of the file's bytes, or NULL when it does not lie within. */
static const void *within(const char *bytes, size_t size, uint64_t offset, uint64_t length) {
    return offset <= size && length <= size - offset ? bytes + offset : NULL;
}

static const char *find_unique(const char *bytes, size_t size, const Elf64_Shdr *sections,
                               uint16_t count, const Elf64_Shdr *table, size_t *length) {
    const Elf64_Shdr *names = table->sh_link < count ? &sections[table->sh_link] : NULL;
    const char *text = names ? within(bytes, size, names->sh_offset, names->sh_size) : NULL;
    const Elf64_Sym *symbols = within(bytes, size, table->sh_offset, table->sh_size);
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

static void look(const char *bytes, size_t size, char *symbol, size_t capacity) {
    const Elf64_Ehdr *header = within(bytes, size, 0, sizeof(*header));
    if (!header || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
        header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_shentsize != sizeof(Elf64_Shdr) ||
        header->e_shoff % _Alignof(Elf64_Shdr) != 0) {
        return; /* loading it will say what is wrong */
    }
    const Elf64_Shdr *sections =
        within(bytes, size, header->e_shoff, (uint64_t)header->e_shnum * sizeof(*sections));
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

void os_library_unique_symbol(const char *path, char *symbol, size_t size) {
    char *bytes;
    size_t length;
    symbol[0] = '\0';
    if (os_file_read(path, LIBRARY_BYTES_MAX, &bytes, &length, NULL)) {
        look(bytes, length, symbol, size);
        alloc_free(bytes);
    }
}
