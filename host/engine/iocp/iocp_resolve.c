/* iocp_resolve.c: resolves names to addresses, with the system's resolver. */
#include "base/error.h"
#include "engine/iocp/iocp.h"
#include "os/os_windows.h"

enum { NAME_MAX_UNITS = 256 }; /* a name of the DNS has 253 characters at the most */

bool engine_resolve(const char *host, uint16_t port, struct berth_address *addresses,
                    unsigned capacity, unsigned *count, struct error *error) {
    wchar_t wide[NAME_MAX_UNITS];
    ADDRINFOW hints = {.ai_socktype = SOCK_STREAM};
    ADDRINFOW *found = NULL;
    if (MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, host, -1, wide, NAME_MAX_UNITS) == 0) {
        return error_set(error, "not a name: too long, or not UTF-8");
    }
    int code = GetAddrInfoW(wide, NULL, &hints, &found);
    if (code != 0) {
        return windows_error_set(error, (unsigned long)code);
    }
    *count = 0;
    for (const ADDRINFOW *one = found; one && *count < capacity; one = one->ai_next) {
        struct berth_address address = windows_address(one->ai_addr);
        if (address.family != BERTH_FAMILY_NONE) {
            address.port = port;
            addresses[(*count)++] = address;
        }
    }
    FreeAddrInfoW(found);
    return *count > 0 || error_set(error, "no address");
}
