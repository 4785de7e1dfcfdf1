/* authority.h: the authority of a URI: "example.org:8080", "[::1]".
 *
 * Source: RFC 3986, 3.2, without userinfo, which RFC 9110, 4.2.4, forbids. Pure.
 * Threads: any. */
#ifndef BERTH_PLUGINS_HTTP_AUTHORITY_H
#define BERTH_PLUGINS_HTTP_AUTHORITY_H

#include "http/text.h"

/* A host that is not empty, and a port of at most 65535, or none. */
bool is_authority(struct text text);

#endif
