#include <winsock2.h>

#include <ws2tcpip.h>

#include <iphlpapi.h>
#include <stdlib.h>
#include <string.h>

#include "os/os.h"
#include "os/os_windows.h"

static bool find_number(const char *name, uint32_t *index) {
    enum { DIGITS_MAX = 9 };
    NET_LUID interface_id;
    size_t digits = strspn(name, "0123456789");
    if (digits == 0 || digits > DIGITS_MAX || name[digits] != '\0') {
        return false;
    }
    *index = (uint32_t)strtoul(name, NULL, 10);
    return *index != 0 && ConvertInterfaceIndexToLuid(*index, &interface_id) == NO_ERROR;
}

bool os_interface_find(const char *name, uint32_t *index) {
    wchar_t wide[NDIS_IF_MAX_STRING_SIZE + 1];
    NET_LUID interface_id;
    NET_IFINDEX found = 0;
    if (MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, name, -1, wide,
                            NDIS_IF_MAX_STRING_SIZE + 1) > 0 &&
        (ConvertInterfaceNameToLuidW(wide, &interface_id) == NO_ERROR ||
         ConvertInterfaceAliasToLuid(wide, &interface_id) == NO_ERROR) &&
        ConvertInterfaceLuidToIndex(&interface_id, &found) == NO_ERROR) {
        *index = found;
        return true;
    }
    return find_number(name, index);
}
