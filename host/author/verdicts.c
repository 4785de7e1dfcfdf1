#include "author/verdicts.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

enum { PASSED = 0, FAILED = 1 };

static const char *const words_of[] = {"ok", "FAILED", "skipped"};
static const char *const json_of[] = {"passed", "failed", "skipped"};

/* Behind the name; further lines below it. What a plugin says may contain anything. */
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

void verdict_add(struct verdicts *verdicts, enum verdict verdict, const char *name,
                 const char *words) {
    verdicts->counts[verdict]++;
    if (verdicts->json) {
        struct bytes *list = &verdicts->list;
        bytes_add_text(list, list->size > 0 ? ",\n    {\"name\": " : "\n    {\"name\": ");
        bytes_add_json(list, name);
        bytes_add_format(list, ", \"outcome\": \"%s\", \"words\": ", json_of[verdict]);
        bytes_add_json(list, words);
        bytes_add_text(list, "}");
        return;
    }
    printf("%-8s ", words_of[verdict]);
    text_print(stdout, name);
    print_words(words);
    fflush(stdout);
}

void verdict_addf(struct verdicts *verdicts, enum verdict verdict, const char *name,
                  const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    verdict_add(verdicts, verdict, name, text);
}

int verdicts_fail(bool json, const char *why) {
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

int verdicts_finish(struct verdicts *verdicts) {
    const unsigned *counts = verdicts->counts;
    bool good = counts[VERDICT_FAILED] == 0;
    if (verdicts->json) {
        const char *list = verdicts->list.data ? (const char *)verdicts->list.data : "";
        printf("{\n  \"passed\": %u,\n  \"failed\": %u,\n  \"skipped\": %u,\n  \"checks\": [%s\n  "
               "]\n}\n",
               counts[VERDICT_PASSED], counts[VERDICT_FAILED], counts[VERDICT_SKIPPED], list);
    } else {
        printf("%u passed, %u failed, %u skipped\n", counts[VERDICT_PASSED], counts[VERDICT_FAILED],
               counts[VERDICT_SKIPPED]);
    }
    bytes_free(&verdicts->list);
    return good ? PASSED : FAILED;
}
