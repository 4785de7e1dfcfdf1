/* files.h: the differences between the systems' files: names in UTF-8, folders, locks.
 *
 * Mailboxes belong to users, and the host may have rights that they lack. So the contents of a
 * mailbox are only accessed through its open folder, name by name, and a link is never followed:
 * whatever its owner creates or replaces there at any moment, nothing outside the mailbox is read
 * or removed.
 *
 * All of it may block, as files do: for works and [control] only. */
#ifndef BERTH_PLUGINS_POP3_FILES_H
#define BERTH_PLUGINS_POP3_FILES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum files_status {
    FILES_OK,
    FILES_MISSING,
    FILES_IN_USE,  /* files_lock(): another holder has it */
    FILES_FOREIGN, /* a link, a FIFO, a device, or of another owner than the mailbox */
    FILES_FAILED,
};

/* Between a message's unique name and its flags in a Maildir: ':', which no file name can have on
 * Windows, and there ';', as other programs have it. */
char files_info_separator(void);

bool files_is_separator(char c);
bool files_is_absolute(const char *path);

/* A regular file of the operator's, for reading, in binary. NULL: *status says why. */
FILE *files_open(const char *path, enum files_status *status);

/* An open folder: a mailbox, or one in it. */
struct files_folder {
    intptr_t handle;
    uint64_t owner; /* of the mailbox; not on Windows */
    uint64_t group;
};

/* A mailbox. The path itself must be a folder and no link. */
enum files_status files_folder_open(const char *path, struct files_folder *folder);

/* A folder in it, created if it is missing. */
enum files_status files_folder_enter(const struct files_folder *parent, const char *name,
                                     struct files_folder *folder);
void files_folder_close(struct files_folder *folder);

/* Calls each(argument, name) for every ordinary file of the folder, until that returns false. */
enum files_status files_list(const struct files_folder *folder,
                             bool (*each)(void *argument, const char *name), void *argument);

/* For reading, in binary. Others may rename and remove the file meanwhile. NULL: *status says why.
 */
FILE *files_read(const struct files_folder *folder, const char *name, enum files_status *status);

enum files_status files_remove(const struct files_folder *folder, const char *name);

/* Creates the file if necessary, and locks it exclusively until files_unlock() or the end of the
 * process. Each call is a separate holder, also within this process. */
enum files_status files_lock(const struct files_folder *folder, const char *name, intptr_t *lock);
void files_unlock(intptr_t lock);

#endif
