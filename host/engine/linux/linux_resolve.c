/* linux_resolve.c: names to addresses, by the system's resolver. */
#include <netdb.h>
#include <string.h>

#include "base/error.h"
#include "engine/linux/linux.h"

bool engine_resolve(const char *host, uint16_t port, struct berth_address *addresses,
                    unsigned capacity, unsigned *count, struct error *error) {
    /* AI_ADDRCONFIG leaves out a family that this machine has no address of. */
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *found = NULL;
    int code = getaddrinfo(host, NULL, &hints, &found);
    if (code == EAI_NONAME || code == EAI_ADDRFAMILY) {
        hints.ai_flags = 0; /* a machine with loopback alone has no family at all by that rule */
        code = getaddrinfo(host, NULL, &hints, &found);
    }
    if (code != 0) {
        return error_set(error, "%s", gai_strerror(code));
    }
    *count = 0;
    for (struct addrinfo *one = found; one && *count < capacity; one = one->ai_next) {
        union system_address system;
        if (one->ai_addrlen <= sizeof(system)) {
            memcpy(&system, one->ai_addr, one->ai_addrlen);
            addresses[*count] = linux_address(&system);
            addresses[(*count)++].port = port;
        }
    }
    freeaddrinfo(found);
    return *count > 0 || error_set(error, "no address");
}
