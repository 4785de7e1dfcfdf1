/* trusted_open.h: opens a path with components that other users may own. For the plugins of this
 * folder, and for Linux alone.
 *
 * The host may have rights that the owner of a folder lacks, and must not use them for that owner:
 * a symbolic link is followed only if it belongs to root or to the host's own user, a link as the
 * last component is rejected unless asked for, and only regular files and folders are opened, so
 * that no FIFO and no device can block the thread. Threads: any. May block as files do.
 */
#ifndef BERTH_PLUGINS_COMMON_TRUSTED_OPEN_H
#define BERTH_PLUGINS_COMMON_TRUSTED_OPEN_H

#include <stdbool.h>

/* As openat() with O_CLOEXEC and O_NONBLOCK, but reads and writes block as usual. -1 with
 * errno: ELOOP for a link that is not followed, ENXIO for what is neither file nor folder. */
int trusted_open(const char *path, int flags, bool follows_last);

/* The same for one name in an open folder. `folder` may be AT_FDCWD. */
int trusted_open_in(int folder, const char *name, int flags);

#endif
