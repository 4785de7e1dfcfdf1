/* os_private.h: folders that only this user can enter, and the private copies of libraries.
 *
 * A private folder is locked for as long as the process that made it lives (Linux: flock() on the
 * folder; Windows: a handle that does not share its deletion). The lock distinguishes a folder in
 * use from one that a killed process has left. A process id does not, where another PID namespace
 * or another container has the same temporary folder.
 *
 * Owner: the code that made it. Threads: [control]. */
#ifndef BERTH_HOST_OS_OS_PRIVATE_H
#define BERTH_HOST_OS_OS_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "os/os.h"

/* -- folders --------------------------------------------------------------- */

struct os_private;

/* A new empty folder in `place`; NULL: the system's folder for temporary files. A place in which
 * other users can replace entries is refused. */
struct os_private *os_private_create(const char *place, struct error *error);
const char *os_private_path(const struct os_private *folder);
void os_private_remove(struct os_private *folder); /* with the files in it; NULL is legal */

/* Removes this user's private folders there whose processes are gone. */
void os_private_clean(const char *place);

/* -- copies ---------------------------------------------------------------- */

struct os_copy_rules {
    const char *place; /* NULL: the system's folder for temporary files, or else memory */
    uint64_t bytes_max;
};

struct os_copy; /* a file that no other user can change, to be loaded */

/* Copies the open file under that name. On Linux, where a library cannot be loaded from the
 * temporary folder (it is mounted noexec, full, read-only or not there), the copy is kept in
 * memory. The message names what was tried and what to set. */
struct os_copy *os_copy_create(const struct os_file *file, const char *name,
                               const struct os_copy_rules *rules, struct error *error);
/* Adds a further file to its folder, for a library of several files. */
bool os_copy_add(struct os_copy *copy, const struct os_file *file, const char *name,
                 uint64_t bytes_max, struct error *error);
/* Called when all files are there: a copied library that needs another one gets the copy of it, and
 * no other code gets these copies. `alias`: the name of the file that was copied first. */
bool os_copy_join(const struct os_copy *copy, const char *alias, struct error *error);
/* The path at which the bytes of a file are as they were copied. False: it is too long. */
bool os_copy_original(const struct os_copy *copy, const char *name, char *path, size_t size);
const char *os_copy_path(const struct os_copy *copy); /* to load it from */
/* Why it is in memory; "" where it is in a folder. */
const char *os_copy_note(const struct os_copy *copy);
/* A descriptor that another process must inherit to open the path; -1: none. */
int os_copy_descriptor(const struct os_copy *copy);
/* `mapped`: the library could not be unloaded, and its path must not come to mean another one. NULL
 * is legal. */
void os_copy_remove(struct os_copy *copy, bool mapped);

/* -- trust ----------------------------------------------------------------- */

/* Whether only this process's user and those who administer the machine can change the open file,
 * or put another one at its path. Else the message says who can, and the remedy. */
bool os_file_is_trusted(const struct os_file *file, const char *path, struct error *error);

#endif
