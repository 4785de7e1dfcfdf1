/* string.h: see stdio.h beside it. */
#ifndef BERTH_TESTS_MSVC_STRING_H
#define BERTH_TESTS_MSVC_STRING_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

void *__cdecl memcpy(void *to, const void *from, size_t size);
void *__cdecl memset(void *to, int value, size_t size);
int __cdecl memcmp(const void *one, const void *other, size_t size);
#ifdef __cplusplus
const void *__cdecl memchr(const void *bytes, int value, size_t size);
#else
void *__cdecl memchr(const void *bytes, int value, size_t size);
#endif
size_t __cdecl strlen(const char *text);
int __cdecl strcmp(const char *one, const char *other);

#ifdef __cplusplus
}
#endif

#endif
