/* authority.h: what a server is called in a URI: "example.org:8080", "[::1]".
 *
 * Source: RFC 3986, 3.2, without what RFC 9110, 4.2.4, wants refused (user names). Pure.
 * Threads: any. */
#ifndef BERTH_PLUGINS_HTTP_AUTHORITY_H
#define BERTH_PLUGINS_HTTP_AUTHORITY_H

#include "http/text.h"

/* A host that is not empty, and a port of at most 65535, or none. */
bool is_authority(struct text text);

#endif
