/* plugin_callback.h: the kinds of calls into a plugin.
 *
 * Threads: any. */
#ifndef BERTH_HOST_PLUGIN_PLUGIN_CALLBACK_H
#define BERTH_HOST_PLUGIN_PLUGIN_CALLBACK_H

enum plugin_callback {
#define CALLBACK(value, name, when) value,
#define COUNTERS_CALLBACKS
#include "base/counters.def"
    PLUGIN_CALLBACKS, /* how many there are */
};

/* Its name in plugin-api. */
const char *plugin_callback_name(enum plugin_callback callback);

#endif
