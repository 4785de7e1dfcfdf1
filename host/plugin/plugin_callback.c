#include "plugin/plugin_callback.h"

const char *plugin_callback_name(enum plugin_callback callback) {
    static const char *const names[PLUGIN_CALLBACKS] = {
#define CALLBACK(value, name, when) [value] = #name,
#define COUNTERS_CALLBACKS
#include "base/counters.def"
    };
    return callback < PLUGIN_CALLBACKS ? names[callback] : "?";
}
