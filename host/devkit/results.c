#include "devkit/results.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

enum { PASSED = 0, FAILED = 1 };

static const char *const words_of[] = {"ok", "FAILED", "skipped"};
static const char *const json_of[] = {"passed", "failed", "skipped"};

/* Prints the text after the name, further lines below. A plugin's message may contain any bytes. */
static void print_words(const char *words) {
    size_t left = strlen(words);
    fputs(left > 0 ? ": " : "", stdout);
    while (left > 0) {
        struct text_piece piece;
        size_t used = text_next(words, left, &piece);
        if (words[0] == '\n') {
            fputs("\n         ", stdout);
        } else {
            fwrite(piece.bytes, 1, piece.size, stdout);
        }
        words += used;
        left -= used;
    }
    putchar('\n');
}

void results_add(struct results *results, enum result result, const char *name, const char *words) {
    results->counts[result]++;
    if (results->json) {
        struct bytes *list = &results->list;
        bytes_add_text(list, list->size > 0 ? ",\n    {\"name\": " : "\n    {\"name\": ");
        bytes_add_json(list, name);
        bytes_add_format(list, ", \"outcome\": \"%s\", \"words\": ", json_of[result]);
        bytes_add_json(list, words);
        bytes_add_text(list, "}");
        return;
    }
    printf("%-8s ", words_of[result]);
    text_print(stdout, name);
    print_words(words);
    fflush(stdout);
}

void results_addf(struct results *results, enum result result, const char *name, const char *format,
                  ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    results_add(results, result, name, text);
}

int results_fail(bool json, const char *why) {
    struct bytes text = {0};
    text_print_error(why);
    if (json && bytes_add_json(&text, why) && bytes_add(&text, "", 1)) {
        printf("{\n  \"passed\": 0,\n  \"failed\": 0,\n  \"skipped\": 0,\n  \"checks\": [],\n"
               "  \"error\": %s\n}\n",
               (const char *)text.data);
    }
    bytes_free(&text);
    return FAILED;
}

int results_finish(struct results *results) {
    const unsigned *counts = results->counts;
    bool good = counts[RESULT_FAILED] == 0;
    if (results->json) {
        const char *list = results->list.data ? (const char *)results->list.data : "";
        printf("{\n  \"passed\": %u,\n  \"failed\": %u,\n  \"skipped\": %u,\n  \"checks\": [%s\n  "
               "]\n}\n",
               counts[RESULT_PASSED], counts[RESULT_FAILED], counts[RESULT_SKIPPED], list);
    } else {
        printf("%u passed, %u failed, %u skipped\n", counts[RESULT_PASSED], counts[RESULT_FAILED],
               counts[RESULT_SKIPPED]);
    }
    bytes_free(&results->list);
    return good ? PASSED : FAILED;
}
