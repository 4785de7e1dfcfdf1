/* wide_path.h: converts a path in UTF-8 to the form of Windows. For the plugins of this folder, and
 * for Windows alone. Threads: any. */
#ifndef BERTH_PLUGINS_COMMON_WIDE_PATH_H
#define BERTH_PLUGINS_COMMON_WIDE_PATH_H

#include <stdbool.h>
#include <wchar.h>

enum { WIDE_PATH_MAX = 4096 };

/* Makes the path absolute. A long one gets the prefix that lifts the limit of 260 characters:
 * \\?\ or, for a UNC path, \\?\UNC\. False: not UTF-8, or still too long. */
bool wide_path(const char *path, wchar_t wide[WIDE_PATH_MAX]);

#endif
