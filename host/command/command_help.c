/* command_help.c: help, from the table of the command line. */
#include <string.h>

#include "base/macros.h"
#include "command/command.h"

enum { WIDTH = 80 };

/* The words of verbs that take names, and what these are. */
static const char names[] = "NAME...";
static const char names_text[] =
    "NAME is a listener, or a plugin for all of its listeners; where it "
    "is both: listener:NAME or plugin:NAME";

/* The text from a column on, broken between words. */
static void print_wrapped(FILE *stream, const char *text, size_t column, size_t indent) {
    while (*text) {
        size_t length = strcspn(text, " ");
        if (column > indent && column + 1 + length > WIDTH) {
            fprintf(stream, "\n%*s", (int)indent, "");
            column = indent;
        } else if (column > indent) {
            fputc(' ', stream);
            column++;
        }
        fwrite(text, 1, length, stream);
        column += length;
        text += length + (text[length] == ' ');
    }
    fputc('\n', stream);
}

/* A name at the left, and its text in the next column. */
static void print_row(FILE *stream, const char *name, const char *text) {
    enum { LEFT = 26 };
    int used = fprintf(stream, "  %s", name);
    if (used + 2 > LEFT) {
        fputc('\n', stream);
        used = 0;
    }
    fprintf(stream, "%*s", LEFT - used, "");
    print_wrapped(stream, text, LEFT, LEFT);
}

static void command_help_print_option(FILE *stream, const struct command_option *option) {
    char name[64];
    snprintf(name, sizeof(name), "%s%s%s", option->spelling, option->value ? " " : "",
             option->value ? option->value : "");
    print_row(stream, name, option->help);
}

static bool is_shown(const struct command_verb_entry *verb) {
    return verb->text[0] != '\0';
}

static void print_verb_row(FILE *stream, const struct command_verb_entry *verb) {
    char name[64];
    snprintf(name, sizeof(name), "%s%s%s", verb->words, verb->shown[0] != '\0' ? " " : "",
             verb->shown);
    print_row(stream, name, verb->text);
}

static void print_codes(FILE *stream) {
    fputs("\nexit codes: 0 fine, 1 failure, 2 usage, 78 invalid manifest\n", stream);
}

void command_help_all(FILE *stream) {
    fputs("berth " BERTH_VERSION ": a server that hosts protocol plugins\n\n"
          "usage: berth VERB [WORDS] [OPTIONS]\n"
          "       berth help VERB, berth VERB --help, berth --version\n",
          stream);
#define GROUP(title) fputs("\n" title ":\n", stream);
#define VERB(id, words, least, most, shown, options, text, more)                                   \
    if (is_shown(&command_verbs[COMMAND_##id])) {                                                  \
        print_verb_row(stream, &command_verbs[COMMAND_##id]);                                      \
    }
#define COMMAND_VERBS
#include "command/command.def"
#undef GROUP
#undef VERB
    fputs("\nOptions:\n", stream);
    for (size_t i = 0; i < command_option_count; i++) {
        if (command_options[i].help[0] != '\0') {
            command_help_print_option(stream, &command_options[i]);
        }
    }
    print_codes(stream);
}

void command_help_group(FILE *stream, const char *first_word) {
    size_t length = strlen(first_word);
    fprintf(stream, "usage: berth %s VERB [WORDS] [OPTIONS]\n\n", first_word);
    for (size_t i = 0; i < COMMAND_VERB_COUNT; i++) {
        const struct command_verb_entry *verb = &command_verbs[i];
        if (is_shown(verb) && strncmp(verb->words, first_word, length) == 0 &&
            verb->words[length] == ' ') {
            print_verb_row(stream, verb);
        }
    }
}

/* A sentence of it: the first letter a capital, and a full stop. */
static void print_sentence(FILE *stream, const char *text, const char *more) {
    char sentence[512];
    snprintf(sentence, sizeof(sentence), "%s.%s%s", text, more[0] != '\0' ? " " : "", more);
    sentence[0] =
        (char)(sentence[0] >= 'a' && sentence[0] <= 'z' ? sentence[0] - 'a' + 'A' : sentence[0]);
    fputs("\n  ", stream);
    print_wrapped(stream, sentence, 2, 2);
}

void command_help_verb(FILE *stream, const struct command_verb_entry *verb) {
    fprintf(stream, "usage: berth %s%s%s [OPTIONS]\n", verb->words,
            verb->shown[0] != '\0' ? " " : "", verb->shown);
    print_sentence(stream, verb->text, verb->more);
    if (strncmp(verb->shown, names, strlen(names)) == 0) {
        print_sentence(stream, names_text, "");
    }
    fputs("\nOptions:\n", stream);
    for (size_t i = 0; i < command_option_count; i++) {
        if ((verb->options >> i & 1) != 0 && command_options[i].help[0] != '\0') {
            command_help_print_option(stream, &command_options[i]);
        }
    }
    print_codes(stream);
}
