/* os_linux_private.h: what the files of os_private.h share on Linux. */
#ifndef BERTH_HOST_OS_OS_LINUX_PRIVATE_H
#define BERTH_HOST_OS_OS_LINUX_PRIVATE_H

#include <stdbool.h>

struct error;
struct os_private;

/* The descriptor of the folder, which holds its lock. */
int linux_private_descriptor(const struct os_private *folder);

/* Whether only root and this process's user can replace what this user makes in it. */
bool linux_folder_is_trusted(const char *path, struct error *error);

#endif
