/* symbols.h: symbols of a library's file. Threads: any. */
#ifndef BERTH_HOST_DEVKIT_SYMBOLS_H
#define BERTH_HOST_DEVKIT_SYMBOLS_H

#include <stdbool.h>
#include <stddef.h>

/* A symbol that the whole process shares, however often the file is loaded (STB_GNU_UNIQUE: inline
 * variables and static variables of inline functions in C++): two generations would share it, and
 * the library is never unmapped. ELF only, as no other format has it. False: there is none. */
bool symbols_find_unique(const char *path, char *name, size_t size);

#endif
