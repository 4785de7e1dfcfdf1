/* files.h: the little that differs between the systems' files: names in UTF-8, folders, locks.
 *
 * All of it may block: for works and [control] only. */
#ifndef BERTH_PLUGINS_POP3_FILES_H
#define BERTH_PLUGINS_POP3_FILES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { FILES_PATH_MAX = 4096 };

enum files_status {
    FILES_OK,
    FILES_MISSING,
    FILES_IN_USE, /* files_lock(): somebody else holds it */
    FILES_FAILED,
};

/* Between a message's unique name and its flags in a Maildir: ':', which no file name can have on
 * Windows, and there ';', as other programs have it. */
char files_info_separator(void);

bool files_is_separator(char c);
bool files_is_absolute(const char *path);

/* For reading, in binary. Others may rename and remove the file meanwhile. NULL: *status says why.
 */
FILE *files_open(const char *path, enum files_status *status);

enum files_status files_remove(const char *path);

/* Makes the folder, if it is not there; the one that it lies in must be. */
enum files_status files_make_folder(const char *path);

/* Calls each(argument, name) for every ordinary file of the folder, until that returns false. */
enum files_status files_list(const char *folder, bool (*each)(void *argument, const char *name),
                             void *argument);

/* Makes the file if need be, and takes it alone; until files_unlock(), or the process ends in
 * whatever way. Every call counts as somebody else, of this process too. */
enum files_status files_lock(const char *path, intptr_t *lock);
void files_unlock(intptr_t lock);

#endif
