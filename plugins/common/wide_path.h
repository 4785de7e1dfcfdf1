/* wide_path.h: a path in UTF-8 as Windows takes it. For the plugins of this folder, and for Windows
 * alone. Threads: any. */
#ifndef BERTH_PLUGINS_COMMON_WIDE_PATH_H
#define BERTH_PLUGINS_COMMON_WIDE_PATH_H

#include <stdbool.h>
#include <wchar.h>

enum { WIDE_PATH_MAX = 4096 };

/* Makes it absolute, and where it is long puts the prefix in front that lifts the limit of 260
 * characters: \\?\ or, for a path of another machine, \\?\UNC\. False: it is no UTF-8, or too long
 * even so. */
bool wide_path(const char *path, wchar_t wide[WIDE_PATH_MAX]);

#endif
