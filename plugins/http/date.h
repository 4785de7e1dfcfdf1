/* date.h: dates of HTTP. Source: RFC 9110, 5.6.7. Pure, without locale. Threads: any.
 */
#ifndef BERTH_PLUGINS_HTTP_DATE_H
#define BERTH_PLUGINS_HTTP_DATE_H

#include "http/text.h"

enum { DATE_BYTES = 30 }; /* with the terminator */

/* "Sun, 06 Nov 1994 08:49:37 GMT"; years 0 to 9999. */
void date_write(int64_t unix_s, char text[DATE_BYTES]);

/* The three forms that a recipient must understand: IMF-fixdate, RFC 850, asctime(). `now_s`
 * determines the century of a two-digit year. */
bool date_read(struct text text, int64_t now_s, int64_t *unix_s);

#endif
