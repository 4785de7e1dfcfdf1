/* command.h: the command line of berth and berth-devkit, which command.def defines.
 *
 * Threads: the main thread. */
#ifndef BERTH_HOST_COMMAND_COMMAND_H
#define BERTH_HOST_COMMAND_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/macros.h"

enum { EXIT_FINE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_MANIFEST = 78 };

enum { COMMAND_WORDS_MAX = 1024 };

enum command_verb {
#define GROUP(title)
#define VERB(id, words, least, most, shown, options, text, more) COMMAND_##id,
#define COMMAND_VERBS
#include "command/command.def"
#undef GROUP
#undef VERB
    COMMAND_VERB_COUNT,
};

/* The parsed command line. NULL, false, none: not given. The texts are those of argv. */
struct command {
    enum command_verb verb;
#define VALUE(member, spelling, value, help) const char *member;
#define FLAG(member, spelling, help) bool member;
#define COMMAND_OPTIONS
#include "command/command.def"
#undef VALUE
#undef FLAG
    const char *words[COMMAND_WORDS_MAX];
    size_t word_count;
};

/* Reads the words after the program's name. False: there is no verb to run, since help was asked
 * for and is on standard output, or an error is on standard error; then *code is the exit code. */
bool command_read(struct command *command, int argc, char **argv, int *code);

/* "berth: TEXT; see "berth help VERB"" on standard error. Returns EXIT_USAGE. */
int command_refuse(enum command_verb verb, const char *format, ...) BERTH_PRINTF(2, 3);

/* -- for command_help.c ---------------------------------------------------- */

struct command_option {
    const char *spelling;
    const char *value; /* the name of its value in help; NULL: a flag */
    const char *help;  /* "": not shown */
    size_t offset;     /* of its member in struct command */
};

struct command_verb_entry {
    const char *words; /* "plugin fuzz" */
    size_t least;
    size_t most;
    const char *shown; /* the name of its words in help */
    uint64_t options;  /* a bit each, by index */
    const char *text;  /* "": not shown */
    const char *more;
};

extern const struct command_option command_options[];
extern const size_t command_option_count;
extern const struct command_verb_entry command_verbs[COMMAND_VERB_COUNT];

/* All verbs and options; those verbs that begin with a word ("plugin"); one verb. */
void command_help_all(FILE *stream);
void command_help_group(FILE *stream, const char *first_word);
void command_help_verb(FILE *stream, const struct command_verb_entry *verb);

#endif
