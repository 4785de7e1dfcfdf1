/* random.h: unpredictable bytes, for the keys of hash tables. For the plugins of this
 * folder. Threads: any. */
#ifndef BERTH_PLUGINS_COMMON_RANDOM_H
#define BERTH_PLUGINS_COMMON_RANDOM_H

#include <stdbool.h>
#include <stddef.h>

/* At most 256. False: the system's generator failed. */
bool random_bytes(void *bytes, size_t size);

#endif
