#include "base/assert.h"

#include <stdlib.h>

#include "base/log.h"

enum { FLUSH_MS = 500 };

_Noreturn void assert_failed(const char *fact, const char *file, int line) {
    log_error(NULL, "defect in the host: %s:%d: expected %s", file, line, fact);
    log_flush(FLUSH_MS);
    abort();
}
