#include "model.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void usage(const char *word) {
    fprintf(stderr,
            "\"%s\": expected --port N, --buffer BYTES, --close-after BYTES or --backlog N\n",
            word);
    exit(2);
}

static uint64_t number(const char *text, uint64_t min, uint64_t max) {
    char *end;
    unsigned long long value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || value < min || value > max) {
        usage(text);
    }
    return value;
}

void model_options_read(struct model_options *options, int count, char **words) {
    *options = (struct model_options){.buffer_bytes = 16384, .backlog = 4096};
    for (int i = 1; i < count; i += 2) {
        if (i + 1 == count) {
            usage(words[i]);
        } else if (strcmp(words[i], "--port") == 0) {
            options->port = (uint16_t)number(words[i + 1], 0, 65535);
        } else if (strcmp(words[i], "--buffer") == 0) {
            options->buffer_bytes = number(words[i + 1], 1, 1 << 24);
        } else if (strcmp(words[i], "--close-after") == 0) {
            options->close_after = number(words[i + 1], 0, UINT64_MAX / 2);
        } else if (strcmp(words[i], "--backlog") == 0) {
            options->backlog = (int)number(words[i + 1], 1, 65535);
        } else {
            usage(words[i]);
        }
    }
}

void model_ready(uint16_t port) {
    printf("listening on 127.0.0.1:%u\n", port);
    fflush(stdout);
}

void model_limit(const char *format, ...) {
    static bool said;
    va_list arguments;
    if (said) {
        return;
    }
    said = true;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
}

void model_fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}
