#include <sys/random.h>

#include "common/random.h"

bool random_bytes(void *bytes, size_t size) {
    return getrandom(bytes, size, 0) == (ssize_t)size;
}
