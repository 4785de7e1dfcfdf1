#include "common/open_files.h"

const bool files_may_stay_open = true;
