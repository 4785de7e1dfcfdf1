/* engine_error.c: the texts of results, the same on every engine. */
#include "engine/engine.h"

const char *engine_error_text(int64_t result) {
    switch (result) {
    case ENGINE_PENDING:
        return "pending";
    case ENGINE_E_CANCELLED:
        return "cancelled";
    case ENGINE_E_RESET:
        return "reset by peer";
    case ENGINE_E_TIMED_OUT:
        return "timed out";
    case ENGINE_E_REFUSED:
        return "connection refused";
    case ENGINE_E_UNREACHABLE:
        return "unreachable";
    case ENGINE_E_NO_RESOURCES:
        return "out of system resources";
    case ENGINE_E_FILE_SHORT:
        return "the file is shorter than expected";
    case ENGINE_E_ABANDONED:
        return "not ended by the system";
    case ENGINE_E_OTHER:
        return "failed";
    default:
        return result < 0 ? "unknown error" : "success";
    }
}
