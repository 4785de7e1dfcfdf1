/* schemas.c: what the host says of schemas and values, for tests/manifest/test_schema.py.
 *
 * Lines of standard input, in turns: a schema, and an array of values. For each schema one line
 * that begins with "refused" or "taken", and behind a schema that is taken one for each value,
 * "fits" or what is wrong with it, with \v in place of new lines. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "manifest/schema.h"

enum { LINE_BYTES = 4 * 1024 * 1024, WORDS_BYTES = 64 * 1024 };

static bool read_line(char *line) {
    if (!fgets(line, LINE_BYTES, stdin)) {
        return false;
    }
    line[strcspn(line, "\r\n")] = '\0';
    return true;
}

static void check_values(struct schema *schema, const char *line) {
    static char words[WORDS_BYTES];
    cJSON *values = cJSON_Parse(line);
    for (const cJSON *one = values ? values->child : NULL; one; one = one->next) {
        char *json = cJSON_PrintUnformatted(one);
        bool fits = schema_check_text(schema, json, words, sizeof(words));
        for (char *at = words; *at; at++) {
            *at = *at == '\n' ? '\v' : *at;
        }
        puts(fits ? "fits" : words);
        cJSON_free(json);
    }
    cJSON_Delete(values);
}

int main(void) {
    char *schema_line = malloc(LINE_BYTES);
    char *values_line = malloc(LINE_BYTES);
    while (schema_line && values_line && read_line(schema_line) && read_line(values_line)) {
        struct error error = {0};
        struct schema *schema = schema_create(schema_line, &error);
        if (schema) {
            puts("taken");
            check_values(schema, values_line);
        } else {
            printf("refused %s\n", error.message);
        }
        schema_destroy(schema);
    }
    free(values_line);
    free(schema_line);
    return 0;
}
