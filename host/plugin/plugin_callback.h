/* plugin_callback.h: what a plugin is called for.
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

/* As plugin-api calls it. */
const char *plugin_callback_name(enum plugin_callback callback);

#endif
