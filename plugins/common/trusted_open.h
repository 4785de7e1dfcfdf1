/* trusted_open.h: opens a path of which others may own a part. For the plugins of this folder, and
 * for Linux alone.
 *
 * The host may have rights that the owner of a folder lacks, and must not use them for that owner:
 * a symbolic link is followed only where it belongs to root or to the host's own user, the last
 * component of the path is no link at all unless asked for, and what is opened is a regular file or
 * a folder, so that no FIFO and no device can hold the thread. Threads: any. May block as files do.
 */
#ifndef BERTH_PLUGINS_COMMON_TRUSTED_OPEN_H
#define BERTH_PLUGINS_COMMON_TRUSTED_OPEN_H

#include <stdbool.h>

/* As openat() with O_CLOEXEC and O_NONBLOCK, of which nothing is left for reads and writes. -1 with
 * errno: ELOOP for a link that is not followed, ENXIO for what is neither file nor folder. */
int trusted_open(const char *path, int flags, bool follows_last);

/* The same of one name in a folder that is open. `folder` may be AT_FDCWD. */
int trusted_open_in(int folder, const char *name, int flags);

#endif
