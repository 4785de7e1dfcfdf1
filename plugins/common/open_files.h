/* open_files.h: whether open files can be replaced. */
#ifndef BERTH_PLUGINS_COMMON_OPEN_FILES_H
#define BERTH_PLUGINS_COMMON_OPEN_FILES_H

#include <stdbool.h>

/* Whether a file that is open can be replaced and removed like any other. */
extern const bool files_may_stay_open;

#endif
