#define _CRT_RAND_S /* for rand_s(), which takes from the system's generator */
#include <stdlib.h>
#include <string.h>

#include "common/random.h"

bool random_bytes(void *bytes, size_t size) {
    unsigned number;
    for (size_t at = 0; at < size; at += sizeof(number)) {
        size_t part = size - at < sizeof(number) ? size - at : sizeof(number);
        if (rand_s(&number) != 0) {
            return false;
        }
        memcpy((char *)bytes + at, &number, part);
    }
    return true;
}
