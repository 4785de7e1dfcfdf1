/* target.h: the address of an upstream in the configuration: "name:port", "1.2.3.4:port" or
 * "[::1]:port". Pure. Threads: any. */
#ifndef BERTH_PLUGINS_PROXY_TARGET_H
#define BERTH_PLUGINS_PROXY_TARGET_H

#include <stdbool.h>
#include <stdint.h>

enum { HOST_BYTES_MAX = 255 };

struct target {
    char host[HOST_BYTES_MAX + 1]; /* a name or an address, without brackets */
    uint16_t port;
};

/* False: invalid. */
bool target_read(struct target *target, const char *text);

#endif
