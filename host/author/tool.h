/* tool.h: what the verbs of this folder share: the reading of their words, and a watch over a
 * plugin that crashes or hangs. */
#ifndef BERTH_HOST_AUTHOR_TOOL_H
#define BERTH_HOST_AUTHOR_TOOL_H

#include <stdbool.h>
#include <stddef.h>

struct error;

enum { TOOL_FINE = 0, TOOL_FAILED = 1, TOOL_USAGE = 2, TOOL_WORDS_MAX = 256 };

struct tool_words {
    const char *config;     /* --config FILE|JSON */
    const char *lang;       /* --lang c|cpp */
    const char *out;        /* --out FILE */
    const char *listen;     /* --listen ADDRESS */
    const char *time_limit; /* --time-limit SECONDS */
    const char *seconds;    /* --seconds N */
    const char *seed;       /* --seed S */
    bool transcripts;       /* --transcripts: the words behind the first are such */
    bool json;              /* --json */
    bool child;             /* --child: the process that validate starts */
    const char *words[TOOL_WORDS_MAX];
    size_t count;
};

/* `allowed` are the options of the verb, up to a NULL. TOOL_USAGE after a message. */
int tool_words_read(struct tool_words *words, int argc, char **argv, const char *const *allowed);
int tool_usage(const char *text);
int tool_complain(const char *what, const char *word); /* the same about a word of the user */

/* --config: the text of it, from a file or itself; NULL without one. *folder is the file's, for
 * relative paths, else ".". */
bool tool_config_read(const char *given, char **json, char *folder, size_t size,
                      struct error *error);

/* From now on a crash, or a callback that takes more than limit_ms, or so long outside of every
 * callback between two calls of tool_watch_step(), ends the process after `last_words` ("crashed
 * with SIGSEGV", "did not return within 10 s"), which writes them with os_process_write().
 * `callback`: the one that it happened in, "" for none; NULL: another thread than the one that
 * tries the plugin crashed. */
typedef void tool_last_words_fn(const char *what, const char *callback);
bool tool_watch_start(unsigned limit_ms, tool_last_words_fn *last_words, struct error *error);
void tool_watch_step(void);
void tool_watch_stop(void);

/* The program beside this one that runs plugins. */
#define TOOL_DEVKIT "berth-devkit"

int tool_test(const struct tool_words *words);
int tool_fuzz(const struct tool_words *words);
int tool_validate(const struct tool_words *words);
int tool_new(const struct tool_words *words);

#endif
