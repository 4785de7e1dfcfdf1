/* target.h: maps the path of a request to the name of a file below the root.
 *
 * The same names are refused on every system, so that a folder is served alike everywhere: a name
 * with a special meaning on Windows (a drive, an alternate stream, a device, a short alias of a
 * long name, a name with trailing dots or spaces) is not found on Linux either. Pure. Threads: any.
 */
#ifndef BERTH_PLUGINS_HTTP_TARGET_H
#define BERTH_PLUGINS_HTTP_TARGET_H

#include "http/text.h"

enum { NAME_BYTES_MAX = 1024 };

/* Writes the file's name, terminated, relative to the root and with '/' between its parts: "" for
 * the root itself; a folder's ends in '/'. Returns 0, or 400 (not a path: bad escapes, control
 * bytes, no UTF-8, above the root), or 404 (no such file can be), or 414. */
uint32_t target_to_name(struct text path, bool dot_files, char name[NAME_BYTES_MAX]);

#endif
