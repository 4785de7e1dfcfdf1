/* json.h: texts in JSON that are whole, or are not there.
 *
 * cJSON builds on without what it had no memory for. With its memory taken from the host's one way
 * to it, each thread knows whether something that it asked for since json_begin() was refused.
 *
 * Owner: the process. Threads: json_setup() first, before there are others; the rest any. */
#ifndef BERTH_HOST_MANIFEST_JSON_H
#define BERTH_HOST_MANIFEST_JSON_H

#include <stdbool.h>
#include <stddef.h>

struct cJSON;

void json_setup(void); /* more than once does no harm */

void json_begin(void);
bool json_is_whole(void);
void json_refuse(void); /* it is not: there was no memory for something else */

/* A byte-order mark is no part of the text. */
void json_skip_mark(const char **text, size_t *size);

/* The text, which may begin with a byte-order mark; cJSON_Delete() frees it. NULL: it is no JSON,
 * or there is no memory. */
struct cJSON *json_parse(const char *text, size_t size);

/* Adds the item behind the others, or frees it. The list or the item may be NULL. */
void json_append(struct cJSON *list, struct cJSON *item);

/* The same for a member of an object. */
void json_add(struct cJSON *object, const char *key, struct cJSON *item);

/* As text, which cJSON_free() frees; NULL when there is not all of it. */
char *json_print(const struct cJSON *item);

#endif
