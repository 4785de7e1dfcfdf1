/* fuzz.h: what the files of the verb `plugin fuzz` share.
 *
 * A run is a transcript: some conversations with one plugin from `load` to `unload`, made from a
 * number. What it breaks is a rule of plugin-api; no answer is expected. The runs are in a process
 * of their own (fuzz_child.c), which a plugin may end: the one that the user has started (fuzz.c)
 * then shortens the run by trying parts of it in further processes (fuzz_attempt.c).
 *
 * Owner: the verb. Threads: its one. */
#ifndef BERTH_HOST_DEVKIT_FUZZ_H
#define BERTH_HOST_DEVKIT_FUZZ_H

#include "devkit/tool.h"
#include "devkit/transcript.h"
#include "os/os.h"

enum {
    FUZZ_CONVERSATIONS = 32, /* of a run, where no servers are connected to */
    FUZZ_ATTEMPTS_MAX = 3000,
    FUZZ_PROCESSES_MAX = 400, /* the same, where each attempt is a process */
    FUZZ_SHORTEN_MS = 60000,
    FUZZ_HANG_S = 10,
};

struct fuzz_random {
    uint64_t state;
};

struct fuzz_seeds {
    struct transcript *const *all;
    size_t count;
};

struct fuzz_trial {
    const struct berth_plugin *plugin;
    const char *config_json; /* where the transcript has none; NULL: none */
    const char *folder;      /* of relative paths in a config; NULL: the transcript's */
    const char *scratch;     /* a folder for copies of what a config names; NULL: no copies */
};

/* fuzz_make.c: run number `run` of that seed, which has so many conversations. NULL: no memory. */
struct transcript *fuzz_make(uint64_t seed, uint64_t run, const struct fuzz_seeds *seeds,
                             bool datagrams, unsigned *conversations);

/* fuzz_run.c: False: the run could not begin; *words says why. *found has an empty name when no
 * rule was broken; `rule`: only that one counts, NULL: the first. Notes in each step whether it was
 * idle. */
bool fuzz_run(const struct fuzz_trial *trial, struct transcript *transcript, const char *rule,
              struct testbed_finding *found, struct bytes *words);
/* The step that is being run, for last words. */
size_t fuzz_run_step(void);

/* fuzz_copy.c: copies the files and folders that the config names into the folder `scratch`, in
 * place of those of the call before; *copied is the config that names the copies. */
bool fuzz_copy(const char *scratch, const char *folder, const char *config, char **copied,
               struct error *error);
void fuzz_copy_remove(const char *scratch);

/* fuzz_shorten.c: removes what the transcript fails without, by trying. */
struct fuzz_shortening {
    bool (*still_fails)(void *context, struct transcript *transcript);
    void *context;
    unsigned attempts_max;
    unsigned attempts;
    uint64_t until_ms;
};
void fuzz_shorten(struct fuzz_shortening *shortening, struct transcript *transcript);

/* fuzz_write.c: writes the first steps of it as text, without those that were idle, piece by piece
 * and without memory of the heap. */
typedef void fuzz_write_fn(void *context, const char *text, size_t size);
void fuzz_write(const struct transcript *transcript, size_t steps, fuzz_write_fn *write,
                void *context);

/* -- processes ---------------------------------------------------------------------------------
 * What the child writes: one line, and the transcript. */

enum fuzz_end {
    FUZZ_FINE,
    FUZZ_BROKEN, /* a rule, already shortened */
    FUZZ_CRASHED,
    FUZZ_HUNG,
    FUZZ_EXITED,  /* the plugin has called exit() */
    FUZZ_REFUSED, /* the run could not begin */
    FUZZ_ENDS,
};

struct fuzz_report {
    enum fuzz_end end;
    uint64_t run;
    char name[80];            /* the rule; "crashed with SIGSEGV" */
    char callback[40];        /* "": outside of every one, "?": on a thread of the plugin's own */
    char words[300];          /* of a finding, or the last line of what was fine */
    char folder[OS_PATH_MAX]; /* of the paths in the transcript's config */
    const char *rest;         /* the transcript */
};

/* fuzz_child.c: the process that runs. */
int fuzz_child(const struct command *command, const struct fuzz_seeds *seeds, uint64_t seed,
               unsigned seconds, unsigned hang_s);
/* Reads what one has written. False: it has ended without a word. */
bool fuzz_report_read(char *output, struct fuzz_report *report);

/* fuzz_attempt.c: the transcript of a run that has ended its process, shortened. NULL: what it did
 * cannot be had again. */
struct transcript *fuzz_attempts(const struct command *command, const struct fuzz_report *report,
                                 const char *scratch, unsigned hang_s);
/* Starts this program again, for the same plugin. `more`: further words, up to a NULL. */
bool fuzz_start(const struct command *command, const char *const *more, const char *scratch,
                const char *hang_s, int timeout_ms, struct fuzz_report *report, char **output,
                char *how, size_t size, struct error *error);

#endif
