/* os_windows_private.h: what the files of os_private.h share on Windows. Included after
 * <windows.h>. */
#ifndef BERTH_HOST_OS_OS_WINDOWS_PRIVATE_H
#define BERTH_HOST_OS_OS_WINDOWS_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>

/* The user of a token, and the room for its SID. */
union windows_user {
    TOKEN_USER user;
    uint8_t room[sizeof(TOKEN_USER) + SECURITY_MAX_SID_SIZE];
};

/* This process's; false with GetLastError(). */
bool windows_user_read(union windows_user *user);

#endif
