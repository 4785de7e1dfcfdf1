/* macros.h: the few compiler idioms that the host uses. */
#ifndef BERTH_HOST_BASE_MACROS_H
#define BERTH_HOST_BASE_MACROS_H

#include <stddef.h>

/* GCC names the C99 rules "gnu_printf" on every system; plain "printf" is msvcrt's on Windows. */
#if defined(__GNUC__) && !defined(__clang__)
#define BERTH_PRINTF(text, first) __attribute__((format(gnu_printf, text, first)))
#elif defined(__GNUC__)
#define BERTH_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define BERTH_PRINTF(text, first)
#endif

/* For a struct that is stored in memory of another type; the build also has -fno-strict-aliasing.
 */
#ifdef __GNUC__
#define BERTH_MAY_ALIAS __attribute__((__may_alias__))
#else
#define BERTH_MAY_ALIAS
#endif

#define ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The struct that embeds `member` at `pointer`. */
#define CONTAINER_OF(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

#endif
