/* path_kind.h: what there is at a path, without opening it. For the plugins of this folder;
 * compiled into those that check their configuration. Threads: any. */
#ifndef BERTH_PLUGINS_COMMON_PATH_KIND_H
#define BERTH_PLUGINS_COMMON_PATH_KIND_H

enum path_kind { PATH_NOTHING, PATH_FILE, PATH_FOLDER };

/* Symbolic links are followed. A file is anything that is no folder. */
enum path_kind path_kind(const char *path);

#endif
