/* fuzz.h: what the files of the verb `plugin fuzz` share.
 *
 * A run is a transcript: several conversations with one plugin from `load` to `unload`, generated
 * from a number. A run fails when the plugin breaks a rule of plugin-api; answers are not checked.
 * The runs execute in a child process (fuzz_child.c), because the plugin may end it. The parent
 * (fuzz.c) then shortens the run by trying parts of it in further processes (fuzz_attempt.c).
 *
 * Owner: the verb. Threads: the main thread. */
#ifndef BERTH_HOST_DEVKIT_FUZZ_H
#define BERTH_HOST_DEVKIT_FUZZ_H

#include "devkit/tool.h"
#include "devkit/transcript.h"
#include "os/os.h"

enum {
    FUZZ_CONVERSATIONS = 32, /* of a run without upstream servers */
    FUZZ_ATTEMPTS_MAX = 3000,
    FUZZ_PROCESSES_MAX = 400, /* the same, if each attempt is a process */
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
    const char *config_json; /* used if the transcript has no config; NULL: none */
    const char *folder;      /* of relative paths in a config; NULL: the transcript's */
    const char *scratch;     /* a folder for copies of the config's files; NULL: no copies */
};

/* fuzz_make.c: generates run `run` of the seed, with so many conversations. NULL: no memory. */
struct transcript *fuzz_make(uint64_t seed, uint64_t run, const struct fuzz_seeds *seeds,
                             bool datagrams, unsigned *conversations);

/* fuzz_run.c: False: the run could not begin; *words says why. *found has an empty name if no rule
 * was broken. `rule`: only this rule counts; NULL: the first broken one. Sets the steps' is_idle.
 */
bool fuzz_run(const struct fuzz_trial *trial, struct transcript *transcript, const char *rule,
              struct testbed_finding *found, struct bytes *words);
/* The current step, for the crash report. */
size_t fuzz_run_step(void);

/* fuzz_copy.c: copies the files and folders that the config names into the folder `scratch`,
 * replacing those of the previous call. *copied is a config that names the copies. */
bool fuzz_copy(const char *scratch, const char *folder, const char *config, char **copied,
               struct error *error);
void fuzz_copy_remove(const char *scratch);

/* fuzz_shorten.c: removes what the failure does not need, by trial runs. */
struct fuzz_shortening {
    bool (*still_fails)(void *context, struct transcript *transcript);
    void *context;
    unsigned attempts_max;
    unsigned attempts;
    uint64_t until_ms;
};
void fuzz_shorten(struct fuzz_shortening *shortening, struct transcript *transcript);

/* fuzz_write.c: writes the first steps as text, without the idle ones, in pieces and without heap
 * memory. */
typedef void fuzz_write_fn(void *context, const char *text, size_t size);
void fuzz_write(const struct transcript *transcript, size_t steps, fuzz_write_fn *write,
                void *context);

/* -- processes ---------------------------------------------------------------------------------
 * The child writes one line, then the transcript. */

enum fuzz_end {
    FUZZ_FINE,
    FUZZ_BROKEN, /* a rule; the transcript is already shortened */
    FUZZ_CRASHED,
    FUZZ_HUNG,
    FUZZ_EXITED,  /* the plugin called exit() */
    FUZZ_REFUSED, /* the run could not begin */
    FUZZ_ENDS,
};

struct fuzz_report {
    enum fuzz_end end;
    uint64_t run;
    char name[80];            /* the rule; "crashed with SIGSEGV" */
    char callback[40];        /* "": outside of callbacks, "?": on one of the plugin's threads */
    char words[300];          /* of a finding, or the last line of a clean result */
    char folder[OS_PATH_MAX]; /* of the paths in the transcript's config */
    const char *rest;         /* the transcript */
};

/* fuzz_child.c: the child process. */
int fuzz_child(const struct command *command, const struct fuzz_seeds *seeds, uint64_t seed,
               unsigned seconds, unsigned hang_s);
/* Parses the output of a child. False: it ended without a report. */
bool fuzz_report_read(char *output, struct fuzz_report *report);

/* fuzz_attempt.c: the shortened transcript of a run that ended its process. NULL: the failure is
 * not reproducible. */
struct transcript *fuzz_attempts(const struct command *command, const struct fuzz_report *report,
                                 const char *scratch, unsigned hang_s);
/* Starts this program again for the same plugin. `more`: further arguments, NULL-terminated. */
bool fuzz_start(const struct command *command, const char *const *more, const char *scratch,
                const char *hang_s, int timeout_ms, struct fuzz_report *report, char **output,
                char *how, size_t size, struct error *error);

#endif
