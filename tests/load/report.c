#include "report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/address.h"
#include "base/error.h"
#include "base/macros.h"
#include "options.h"
#include "result.h"

static const struct {
    const char *name, *key;
    double percent;
} percentiles[] = {
    {"p50", "p50", 50}, {"p90", "p90", 90}, {"p99", "p99", 99}, {"p99.9", "p99_9", 99.9}};

static double per_second(double count, const struct result *result) {
    return result->seconds > 0 ? count / result->seconds : 0;
}

/* Whether latency counts from a moment on the clock that a slow server cannot move. */
static bool is_paced(const struct options *options) {
    return options->block_rate > 0 || (options->mode == MODE_SHORT && options->connect_rate > 0);
}

static bool to_output(const struct options *options) {
    return options->json && strcmp(options->json, "-") == 0;
}

static void print_histogram(FILE *file, const char *name, const struct histogram *histogram) {
    if (histogram->count == 0) {
        return;
    }
    fprintf(file, "%-13s", name);
    for (size_t i = 0; i < ARRAY_COUNT(percentiles); i++) {
        fprintf(file, " %s %.1f", percentiles[i].name,
                (double)histogram_percentile(histogram, percentiles[i].percent) / 1000);
    }
    fprintf(file, " max %.1f us\n", (double)histogram->max / 1000);
}

void report_print(const struct options *options, const struct result *result) {
    FILE *file = to_output(options) ? stderr : stdout;
    fprintf(file,
            "connections   %" PRIu64 " attempted, %" PRIu64 " connected, %" PRIu64
            " refused, %" PRIu64 " cut, %" PRIu64 " at once, in %.2f s\n",
            result->attempted, result->connected, result->refused, result->cut, result->open_max,
            result->connect_seconds);
    fprintf(file, "operations    %" PRIu64 " in %.3f s, %.0f a second\n", result->operations,
            result->seconds, per_second((double)result->operations, result));
    if (result->unsent > 0) {
        fprintf(file, "unsent        %" PRIu64 " were due and could not begin\n", result->unsent);
    }
    fprintf(file, "sent          %" PRIu64 " bytes, %.0f a second\n", result->bytes_sent,
            per_second((double)result->bytes_sent, result));
    fprintf(file, "received      %" PRIu64 " bytes, %.0f a second\n", result->bytes_received,
            per_second((double)result->bytes_received, result));
    if (options->server_pid_count > 0) {
        fprintf(file, "server        %.3f s of processor time, %.3f us an operation\n",
                result->server_seconds,
                result->operations > 0 ? result->server_seconds * 1e6 / (double)result->operations
                                       : 0.0);
    }
    print_histogram(file, is_paced(options) ? "latency (due)" : "latency", &result->latency);
    if (is_paced(options)) {
        print_histogram(file, "service", &result->service);
    }
    print_histogram(file, "connect", &result->connects);
    for (uint64_t i = 0; i < result->errors && i < RESULT_ERRORS_MAX; i++) {
        fprintf(file, "error         %s\n", result->first_errors[i]);
    }
    if (result->errors > RESULT_ERRORS_MAX) {
        fprintf(file, "error         … and %" PRIu64 " more\n", result->errors - RESULT_ERRORS_MAX);
    }
}

static void write_text(FILE *file, const char *text) {
    fputc('"', file);
    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte == '"' || byte == '\\') {
            fprintf(file, "\\%c", byte);
        } else if (byte < 0x20) {
            fprintf(file, "\\u%04x", byte);
        } else {
            fputc(byte, file);
        }
    }
    fputc('"', file);
}

static void write_histogram(FILE *file, const char *name, const struct histogram *histogram) {
    fprintf(file, "  \"%s\": {\"count\": %" PRIu64 ", \"mean\": %.3f, \"min\": %.3f", name,
            histogram->count, histogram_mean(histogram) / 1000, (double)histogram->min / 1000);
    for (size_t i = 0; i < ARRAY_COUNT(percentiles); i++) {
        fprintf(file, ", \"%s\": %.3f", percentiles[i].key,
                (double)histogram_percentile(histogram, percentiles[i].percent) / 1000);
    }
    fprintf(file, ", \"max\": %.3f},\n", (double)histogram->max / 1000);
}

static void write_all(FILE *file, const struct options *options, const struct result *result) {
    char target[BERTH_ADDRESS_TEXT_MAX];
    address_format(&options->target, target, sizeof(target));
    fprintf(file, "{\n  \"mode\": \"%s\",\n  \"target\": \"%s\",\n",
            options_mode_name(options->mode), target);
    fprintf(file, "  \"message_bytes\": %" PRIu32 ",\n  \"pipeline\": %" PRIu32 ",\n",
            options->message_bytes, options->pipeline);
    fprintf(file, "  \"block\": %" PRIu32 ",\n  \"block_rate_bytes_per_second\": %.3f,\n",
            options->block, options->block_rate);
    fprintf(file,
            "  \"connections\": {\"attempted\": %" PRIu64 ", \"connected\": %" PRIu64
            ", \"refused\": %" PRIu64 ", \"cut\": %" PRIu64 ", \"open_max\": %" PRIu64
            ", \"seconds\": %.6f},\n",
            result->attempted, result->connected, result->refused, result->cut, result->open_max,
            result->connect_seconds);
    fprintf(file,
            "  \"seconds\": %.6f,\n  \"operations\": %" PRIu64
            ",\n  \"operations_per_second\": %.3f,\n  \"unsent\": %" PRIu64 ",\n",
            result->seconds, result->operations, per_second((double)result->operations, result),
            result->unsent);
    fprintf(file,
            "  \"bytes_sent\": %" PRIu64 ",\n  \"bytes_received\": %" PRIu64
            ",\n  \"bytes_sent_per_second\": %.3f,\n  \"bytes_received_per_second\": %.3f,\n",
            result->bytes_sent, result->bytes_received,
            per_second((double)result->bytes_sent, result),
            per_second((double)result->bytes_received, result));
    fprintf(file, "  \"server_cpu_seconds\": %.9f,\n", result->server_seconds);
    fprintf(file, "  \"latency_from_due\": %s,\n", is_paced(options) ? "true" : "false");
    write_histogram(file, "latency_us", &result->latency);
    write_histogram(file, "service_us", &result->service);
    write_histogram(file, "connect_us", &result->connects);
    fprintf(file, "  \"errors\": %" PRIu64 ",\n  \"first_errors\": [", result->errors);
    for (uint64_t i = 0; i < result->errors && i < RESULT_ERRORS_MAX; i++) {
        fputs(i > 0 ? ", " : "", file);
        write_text(file, result->first_errors[i]);
    }
    fputs("]\n}\n", file);
}

bool report_write_json(const struct options *options, const struct result *result,
                       struct error *error) {
    FILE *file = to_output(options) ? stdout : fopen(options->json, "wb");
    if (!file) {
        return error_set(error, "--json %s: %s", options->json, strerror(errno));
    }
    write_all(file, options, result);
    bool failed = fflush(file) != 0 || ferror(file) != 0;
    if ((file != stdout && fclose(file) != 0) || failed) {
        return error_set(error, "--json %s: not all of it could be written", options->json);
    }
    return true;
}
