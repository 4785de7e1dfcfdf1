/* path_kind.h: the kind of a file system object, without opening it. For the plugins of this
 * folder; compiled into those that check their configuration. Threads: any. */
#ifndef BERTH_PLUGINS_COMMON_PATH_KIND_H
#define BERTH_PLUGINS_COMMON_PATH_KIND_H

enum path_kind { PATH_NOTHING, PATH_FILE, PATH_FOLDER };

/* Symbolic links are followed. Anything but a folder counts as a file. */
enum path_kind path_kind(const char *path);

#endif
