/* stdio.h: what the plugin headers and the example in C use of it, for a compiler that takes
 * Microsoft's language but has none of Microsoft's headers. Nothing is linked with it. */
#ifndef BERTH_TESTS_MSVC_STDIO_H
#define BERTH_TESTS_MSVC_STDIO_H

#include <stdarg.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

int __cdecl snprintf(char *text, size_t size, const char *format, ...);
int __cdecl vsnprintf(char *text, size_t size, const char *format, va_list arguments);

#ifdef __cplusplus
}
#endif

#endif
