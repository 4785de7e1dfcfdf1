#include "result.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void result_init(struct result *result) {
    memset(result, 0, sizeof(*result));
}

void result_begin_measuring(struct result *result) {
    result->operations = 0;
    result->unsent = 0;
    result->bytes_sent = 0;
    result->bytes_received = 0;
    histogram_init(&result->latency);
    histogram_init(&result->service);
}

void result_error(struct result *result, const char *format, ...) {
    if (result->errors < RESULT_ERRORS_MAX) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(result->first_errors[result->errors], RESULT_ERROR_MAX, format, arguments);
        va_end(arguments);
    }
    result->errors++;
}

static uint64_t kept_errors(const struct result *result) {
    return result->errors < RESULT_ERRORS_MAX ? result->errors : RESULT_ERRORS_MAX;
}

void result_merge(struct result *into, const struct result *from) {
    uint64_t kept = kept_errors(into);
    for (uint64_t i = 0; i < kept_errors(from) && kept < RESULT_ERRORS_MAX; i++, kept++) {
        memcpy(into->first_errors[kept], from->first_errors[i], RESULT_ERROR_MAX);
    }
    into->attempted += from->attempted;
    into->connected += from->connected;
    into->refused += from->refused;
    into->cut += from->cut;
    into->open_max += from->open_max;
    into->operations += from->operations;
    into->unsent += from->unsent;
    into->bytes_sent += from->bytes_sent;
    into->bytes_received += from->bytes_received;
    into->errors += from->errors;
    if (from->seconds > into->seconds) {
        into->seconds = from->seconds;
    }
    if (from->connect_seconds > into->connect_seconds) {
        into->connect_seconds = from->connect_seconds;
    }
    into->server_seconds += from->server_seconds;
    histogram_merge(&into->latency, &from->latency);
    histogram_merge(&into->service, &from->service);
    histogram_merge(&into->connects, &from->connects);
}
