/* Where the proxy's upstreams are: whatever the text, what is read of it lies within its bounds and
 * is all of it; written again it is the same.
 *
 * Links: plugins/proxy/target.c */
#include <string.h>

#include "fuzz.h"
#include "proxy/target.h"

enum { TEXT_MAX = 1024 };

static void check(const struct target *target, const char *text) {
    char again[HOST_BYTES_MAX + 16];
    struct target other;
    size_t length = strlen(target->host);
    FUZZ_CHECK(length > 0 && length <= HOST_BYTES_MAX && target->port > 0);
    FUZZ_CHECK(strstr(text, target->host));
    for (size_t i = 0; i < length; i++) {
        FUZZ_CHECK((unsigned char)target->host[i] > ' ');
    }
    bool in_brackets = strchr(target->host, ':') != NULL;
    snprintf(again, sizeof(again), in_brackets ? "[%s]:%u" : "%s:%u", target->host,
             (unsigned)target->port);
    FUZZ_CHECK(target_read(&other, again));
    FUZZ_CHECK(other.port == target->port && strcmp(other.host, target->host) == 0);
    /* But for zeros in front of the port it is what stood there. */
    FUZZ_CHECK(strlen(again) <= strlen(text));
    FUZZ_CHECK(strncmp(again, text, length + (in_brackets ? 3 : 1)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct target target;
    if (size > TEXT_MAX) {
        return 0;
    }
    char *text = malloc(size + 1); /* of its own, so that a read beyond it is seen */
    memcpy(text, data, size);
    text[size] = '\0';
    memset(&target, 'x', sizeof(target));
    if (target_read(&target, text)) {
        check(&target, text);
    }
    free(text);
    return 0;
}
