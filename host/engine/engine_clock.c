#include "engine/engine.h"
#include "os/os.h"

uint64_t engine_now_ms(void) {
    return os_now_ms();
}
