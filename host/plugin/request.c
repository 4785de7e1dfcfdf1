#include "plugin/request.h"

#include <string.h>

#include "berth/abi.h"
#include "berth/status.h"

int32_t request_read(void *whole, size_t size, const void *given) {
    uint32_t given_size = 0;
    if (!given) {
        return BERTH_E_INVALID;
    }
    memcpy(&given_size, given, sizeof(given_size));
    if (given_size < sizeof(given_size) || given_size > BERTH_REQUEST_BYTES_MAX) {
        return BERTH_E_INVALID;
    }
    memcpy(whole, given, given_size < size ? given_size : size);
    const uint8_t *bytes = given;
    for (size_t i = size; i < given_size; i++) {
        if (bytes[i] != 0) {
            return BERTH_E_UNSUPPORTED;
        }
    }
    return BERTH_OK;
}
