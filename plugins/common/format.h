/* format.h: has the compiler check a function's arguments against its format, where it can. */
#ifndef BERTH_PLUGINS_COMMON_FORMAT_H
#define BERTH_PLUGINS_COMMON_FORMAT_H

#ifdef __GNUC__
#define PLUGIN_PRINTF(text, first) __attribute__((format(__printf__, text, first)))
#else
#define PLUGIN_PRINTF(text, first)
#endif

#endif
