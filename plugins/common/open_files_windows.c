/* FILE_SHARE_DELETE lets others rename and delete an open file, but not put another in its place.
 */
#include "common/open_files.h"

const bool files_may_stay_open = false;
