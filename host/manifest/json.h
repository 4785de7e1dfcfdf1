/* json.h: JSON texts that are complete, or NULL.
 *
 * When an allocation fails, cJSON goes on and leaves the item out. So cJSON allocates by the host's
 * allocator, and each thread records whether one of its allocations has failed since json_begin().
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
void json_refuse(void); /* it is not complete: another allocation has failed */

/* A byte-order mark is no part of the text. */
void json_skip_mark(const char **text, size_t *size);

/* The text, which may begin with a byte-order mark; cJSON_Delete() frees it. NULL: it is no JSON,
 * or there is no memory. */
struct cJSON *json_parse(const char *text, size_t size);

/* Appends the item, or frees it. The list or the item may be NULL. */
void json_append(struct cJSON *list, struct cJSON *item);

/* The same for a member of an object. */
void json_add(struct cJSON *object, const char *key, struct cJSON *item);

/* As text, which cJSON_free() frees; NULL if it is not complete. */
char *json_print(const struct cJSON *item);

#endif
