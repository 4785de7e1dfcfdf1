#include "net/lib/handle.h"

#include "base/alloc.h"

void *handle_alloc(size_t size) {
    void *memory = alloc_zeroed(size + HANDLE_TAGS - 1);
    if (!memory) {
        return NULL;
    }
    struct handle *handle = handle_object((char *)memory + HANDLE_TAGS - 1);
    handle->memory = memory;
    return handle;
}

void handle_free(struct handle *handle) {
    alloc_free_late(handle->memory);
}
