#include "command/command.h"

#include <stdarg.h>
#include <string.h>

#include "base/text.h"
#include "berth/abi.h"
#include "manifest/manifest.h"

enum command_option_index {
#define VALUE(member, spelling, value, help) OPTION_##member,
#define FLAG(member, spelling, help) OPTION_##member,
#define COMMAND_OPTIONS
#include "command/command.def"
#undef VALUE
#undef FLAG
    OPTION_COUNT,
};
_Static_assert(OPTION_COUNT <= 64, "a verb has a bit for each option");

const struct command_option command_options[] = {
#define VALUE(member, spelling, value, help)                                                       \
    {spelling, value, help, offsetof(struct command, member)},
#define FLAG(member, spelling, help) {spelling, NULL, help, offsetof(struct command, member)},
#define COMMAND_OPTIONS
#include "command/command.def"
#undef VALUE
#undef FLAG
};
const size_t command_option_count = OPTION_COUNT;

const struct command_verb_entry command_verbs[COMMAND_VERB_COUNT] = {
#define GROUP(title)
#define TAKES(option) | UINT64_C(1) << OPTION_##option
#define VERB(id, words, least, most, shown, options, text, more)                                   \
    [COMMAND_##id] = {words, least, most, shown, 0 options, text, more},
#define COMMAND_VERBS
#include "command/command.def"
#undef GROUP
#undef TAKES
#undef VERB
};

#define GROUP(title)
#define TAKES(option)
#define VERB(id, words, least, most, shown, options, text, more)                                   \
    _Static_assert((least) <= (most) && (most) <= COMMAND_WORDS_MAX, words);
#define COMMAND_VERBS
#include "command/command.def"
#undef GROUP
#undef TAKES
#undef VERB

enum { WORD_BYTES = 128, SUGGESTION_BYTES = 160 };

int command_refuse(enum command_verb verb, const char *format, ...) {
    char text[512];
    size_t used = 0;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    used = strlen(text);
    text_append(text, sizeof(text), &used, "; see \"berth help%s%s\"",
                verb < COMMAND_VERB_COUNT ? " " : "",
                verb < COMMAND_VERB_COUNT ? command_verbs[verb].words : "");
    text_print_error(text);
    return EXIT_USAGE;
}

/* " (did you mean …?)", or "". */
static const char *command_suggest(char *text, size_t size, const char *word,
                                   const char *const *known, size_t count) {
    const char *nearest = manifest_suggest(word, known, count);
    text[0] = '\0';
    if (nearest) {
        snprintf(text, size, " (did you mean \"%s\"?)", nearest);
    }
    return text;
}

/* -- the verb -- */

/* How many of the words spell the verb; 0: they do not. */
static int verb_match(const struct command_verb_entry *verb, int argc, char **argv) {
    const char *second = strchr(verb->words, ' ');
    size_t length = second ? (size_t)(second - verb->words) : strlen(verb->words);
    if (argc < 1 || strlen(argv[0]) != length || memcmp(argv[0], verb->words, length) != 0) {
        return 0;
    }
    if (!second) {
        return 1;
    }
    return argc > 1 && strcmp(argv[1], second + 1) == 0 ? 2 : 0;
}

static int find_verb(int argc, char **argv, enum command_verb *verb) {
    int used = 0;
    for (int i = 0; i < COMMAND_VERB_COUNT && used == 0; i++) {
        used = verb_match(&command_verbs[i], argc, argv);
        *verb = (enum command_verb)i;
    }
    return used;
}

/* Whether there are verbs of two words that begin with this one. */
static bool is_prefix(const char *word) {
    size_t length = strlen(word);
    for (size_t i = 0; i < COMMAND_VERB_COUNT; i++) {
        if (strncmp(command_verbs[i].words, word, length) == 0 &&
            command_verbs[i].words[length] == ' ') {
            return true;
        }
    }
    return false;
}

/* `words` are the one or two that are no verb. */
static int command_refuse_verb(int argc, char **argv) {
    const char *known[COMMAND_VERB_COUNT + 1];
    char word[2 * WORD_BYTES];
    char safe[2 * WORD_BYTES];
    char meant[SUGGESTION_BYTES];
    size_t count = 0;
    bool prefix = is_prefix(argv[0]);
    if (prefix && argc < 2) {
        return command_refuse(COMMAND_VERB_COUNT, "say what to do with the %s", argv[0]);
    }
    for (size_t i = 0; i < COMMAND_VERB_COUNT; i++) {
        if (command_verbs[i].text[0] != '\0') {
            known[count++] = command_verbs[i].words;
        }
    }
    known[count++] = "help";
    snprintf(word, sizeof(word), "%.100s%s%.100s", argv[0], prefix ? " " : "",
             prefix ? argv[1] : "");
    return command_refuse(COMMAND_VERB_COUNT, "unknown verb \"%s\"%s",
                          text_safe(safe, sizeof(safe), word),
                          command_suggest(meant, sizeof(meant), word, known, count));
}

/* -- options and words -- */

struct reading {
    struct command *command;
    const struct command_verb_entry *entry;
    int argc;
    char **argv;
    int at;
    bool only_words; /* after "--" */
};

/* The option that `length` bytes of the text spell, if the verb takes it; else OPTION_COUNT. */
static size_t find_option(const struct command_verb_entry *verb, const char *text, size_t length) {
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const char *spelling = command_options[i].spelling;
        if ((verb->options >> i & 1) != 0 && strlen(spelling) == length &&
            memcmp(spelling, text, length) == 0) {
            return i;
        }
    }
    return OPTION_COUNT;
}

static int refuse_option(const struct reading *reading, const char *text, size_t length) {
    const char *known[OPTION_COUNT + 1];
    char word[WORD_BYTES];
    char safe[WORD_BYTES];
    char meant[SUGGESTION_BYTES];
    size_t count = 0;
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if ((reading->entry->options >> i & 1) != 0 && command_options[i].help[0] != '\0') {
            known[count++] = command_options[i].spelling;
        }
    }
    known[count++] = "--help";
    snprintf(word, sizeof(word), "%.*s", (int)(length < WORD_BYTES ? length : WORD_BYTES), text);
    return command_refuse(reading->command->verb, "unknown option \"%s\"%s",
                          text_safe(safe, sizeof(safe), word),
                          command_suggest(meant, sizeof(meant), word, known, count));
}

static bool is_help(const char *text) {
    return strcmp(text, "--help") == 0 || strcmp(text, "-h") == 0;
}

/* The value of an option: after '=', or the next word, unless that is an option of the verb. NULL:
 * there is none. */
static const char *command_take_value(struct reading *reading, const char *after) {
    if (after) {
        return after[1] != '\0' ? after + 1 : NULL;
    }
    const char *next = reading->at < reading->argc ? reading->argv[reading->at] : "";
    if (next[0] == '\0' || is_help(next) || strcmp(next, "--") == 0 ||
        find_option(reading->entry, next, strcspn(next, "=")) != OPTION_COUNT) {
        return NULL;
    }
    reading->at++;
    return next;
}

static int read_option(struct reading *reading, const char *text) {
    enum command_verb verb = reading->command->verb;
    size_t length = strcspn(text, "=");
    const char *after = text[length] == '=' ? text + length : NULL;
    size_t found = find_option(reading->entry, text, length);
    if (found == OPTION_COUNT) {
        return refuse_option(reading, text, length);
    }
    const struct command_option *option = &command_options[found];
    void *member = (char *)reading->command + option->offset;
    const char *value = NULL;
    bool flag = false;
    if (option->value) {
        memcpy(&value, member, sizeof(value));
    } else {
        memcpy(&flag, member, sizeof(flag));
    }
    if (value || flag) {
        return command_refuse(verb, "option %s is given twice", option->spelling);
    }
    if (!option->value) {
        if (after) {
            return command_refuse(verb, "option %s takes no value", option->spelling);
        }
        flag = true;
        memcpy(member, &flag, sizeof(flag));
        return EXIT_FINE;
    }
    value = command_take_value(reading, after);
    if (!value) {
        return command_refuse(verb, "option %s needs a value", option->spelling);
    }
    memcpy(member, &value, sizeof(value));
    return EXIT_FINE;
}

static int command_read_word(struct reading *reading, const char *text) {
    struct command *command = reading->command;
    char safe[WORD_BYTES];
    if (command->word_count == reading->entry->most) {
        return command_refuse(command->verb, "unexpected word \"%s\"",
                              text_safe(safe, sizeof(safe), text));
    }
    command->words[command->word_count++] = text;
    return EXIT_FINE;
}

/* Reads what follows the verb. False: the command ends with *code. */
static bool read_rest(struct reading *reading, int *code) {
    *code = EXIT_FINE;
    while (reading->at < reading->argc && *code == EXIT_FINE) {
        const char *text = reading->argv[reading->at++];
        if (reading->only_words || text[0] != '-' || text[1] == '\0') {
            *code = command_read_word(reading, text);
        } else if (strcmp(text, "--") == 0) {
            reading->only_words = true;
        } else if (is_help(text)) {
            command_help_verb(stdout, reading->entry);
            return false;
        } else {
            *code = read_option(reading, text);
        }
    }
    if (*code == EXIT_FINE && reading->command->word_count < reading->entry->least) {
        *code = command_refuse(reading->command->verb, "%s needs %s", reading->entry->words,
                               reading->entry->shown);
    }
    return *code == EXIT_FINE;
}

/* -- help -- */

static int read_help(int argc, char **argv) {
    enum command_verb verb;
    int used = find_verb(argc, argv, &verb);
    if (argc == 0) {
        command_help_all(stdout);
    } else if (used == argc && command_verbs[verb].text[0] != '\0') {
        command_help_verb(stdout, &command_verbs[verb]);
    } else if (argc == 1 && is_prefix(argv[0])) {
        command_help_group(stdout, argv[0]);
    } else if (used > 0) {
        return command_refuse(COMMAND_VERB_COUNT, "help takes one verb");
    } else {
        return command_refuse_verb(argc, argv);
    }
    return EXIT_FINE;
}

bool command_read(struct command *command, int argc, char **argv, int *code) {
    *command = (struct command){.verb = COMMAND_VERB_COUNT};
    if (argc < 1) {
        command_help_all(stderr);
        *code = EXIT_USAGE;
        return false;
    }
    if (strcmp(argv[0], "--version") == 0) {
        printf("berth %s (plugin ABI %d.%d%s)\n", BERTH_VERSION, BERTH_ABI_MAJOR, BERTH_ABI_MINOR,
               BERTH_ABI_DRAFT > 0 ? ", release candidate" : "");
        *code = EXIT_FINE;
        return false;
    }
    if (strcmp(argv[0], "help") == 0 || is_help(argv[0])) {
        *code = read_help(argc - 1, argv + 1);
        return false;
    }
    if (argc == 2 && is_prefix(argv[0]) && is_help(argv[1])) {
        *code = read_help(1, argv);
        return false;
    }
    int used = find_verb(argc, argv, &command->verb);
    if (used == 0) {
        *code = command_refuse_verb(argc, argv);
        return false;
    }
    struct reading reading = {.command = command,
                              .entry = &command_verbs[command->verb],
                              .argc = argc,
                              .argv = argv,
                              .at = used};
    return read_rest(&reading, code);
}
