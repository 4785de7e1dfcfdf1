/* The PROXY protocol's header on hostile bytes: whatever comes, the header lies within what came,
 * and more bytes never change the word on those that were enough.
 *
 * Links: host/net/lib/proxy_header.c host/base/address.c host/base/error.c */
#include <string.h>

#include "fuzz.h"
#include "net/lib/proxy_header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct proxy_header whole;
    struct proxy_header part;
    if (size > PROXY_HEADER_BYTES_MAX + 16) {
        return 0;
    }
    enum proxy_verdict verdict = proxy_header_read(data, (uint32_t)size, &whole);
    FUZZ_CHECK(verdict != PROXY_HEADER_WHOLE || (whole.size > 0 && whole.size <= size));
    FUZZ_CHECK((verdict == PROXY_HEADER_MALFORMED) == (whole.fault != NULL));
    FUZZ_CHECK(verdict != PROXY_HEADER_PART || size < PROXY_HEADER_BYTES_MAX);
    for (size_t cut = 0; cut < size && cut < 300; cut++) {
        uint8_t copy[300]; /* of its own, so that a read beyond it is seen */
        memcpy(copy, data, cut);
        enum proxy_verdict early = proxy_header_read(copy, (uint32_t)cut, &part);
        if (early != PROXY_HEADER_PART) {
            FUZZ_CHECK(early == verdict && part.size == whole.size);
            FUZZ_CHECK(part.names_client == whole.names_client);
        }
    }
    return 0;
}
