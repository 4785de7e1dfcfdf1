#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "os/os.h"

bool os_interface_find(const char *name, uint32_t *index) {
    enum { DIGITS_MAX = 9 };
    char found[IF_NAMESIZE];
    size_t digits = strspn(name, "0123456789");
    *index = if_nametoindex(name);
    if (*index == 0 && digits > 0 && digits <= DIGITS_MAX && name[digits] == '\0') {
        *index = (uint32_t)strtoul(name, NULL, 10);
        return if_indextoname(*index, found) != NULL;
    }
    return *index != 0;
}
