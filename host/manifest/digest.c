#include "manifest/digest.h"

#include <cjson/cJSON.h>
#include <string.h>

#include "os/os.h"

/* A prefix of the bytes, so that values of two kinds never have the same ones. */
enum tag {
    TAG_NULL,
    TAG_FALSE,
    TAG_TRUE,
    TAG_NUMBER,
    TAG_STRING,
    TAG_ARRAY,
    TAG_OBJECT,
    TAG_MEMBER
};

void digest_keys_init(struct digest_keys *keys) {
    os_random(keys, sizeof(*keys));
}

static struct digest digest_mix(const struct digest_keys *keys, enum tag tag, const void *bytes,
                                size_t size) {
    struct digest digest;
    for (int i = 0; i < 2; i++) {
        struct siphash_key key = keys->keys[i];
        key.words[0] ^= (uint64_t)tag;
        digest.words[i] = siphash(&key, bytes, size);
    }
    return digest;
}

/* In the order of the items. */
static struct digest of_array(const struct digest_keys *keys, const cJSON *value) {
    struct digest digest = digest_mix(keys, TAG_ARRAY, "", 0);
    for (const cJSON *item = value->child; item; item = item->next) {
        const struct digest chain[2] = {digest, digest_of(keys, item)};
        digest = digest_mix(keys, TAG_ARRAY, chain, sizeof(chain));
    }
    return digest;
}

/* A sum, so that the order of the members does not count. */
static struct digest of_object(const struct digest_keys *keys, const cJSON *value) {
    struct digest digest = digest_mix(keys, TAG_OBJECT, "", 0);
    for (const cJSON *item = value->child; item; item = item->next) {
        const struct digest pair[2] = {
            digest_mix(keys, TAG_STRING, item->string, strlen(item->string)),
            digest_of(keys, item)};
        struct digest member = digest_mix(keys, TAG_MEMBER, pair, sizeof(pair));
        digest.words[0] += member.words[0];
        digest.words[1] += member.words[1];
    }
    return digest;
}

struct digest digest_of(const struct digest_keys *keys, const cJSON *value) {
    if (cJSON_IsString(value)) {
        return digest_mix(keys, TAG_STRING, value->valuestring, strlen(value->valuestring));
    }
    if (cJSON_IsNumber(value)) {
        double number = value->valuedouble == 0 ? 0 : value->valuedouble; /* -0 is 0 */
        return digest_mix(keys, TAG_NUMBER, &number, sizeof(number));
    }
    if (cJSON_IsArray(value)) {
        return of_array(keys, value);
    }
    if (cJSON_IsObject(value)) {
        return of_object(keys, value);
    }
    return digest_mix(keys,
                      cJSON_IsTrue(value)    ? TAG_TRUE
                      : cJSON_IsFalse(value) ? TAG_FALSE
                                             : TAG_NULL,
                      "", 0);
}

int digest_compare(const void *left, const void *right) {
    return memcmp(left, right, sizeof(struct digest));
}
