/* fuzz.h: what the files of the verb `plugin fuzz` share.
 *
 * A run is a transcript: some conversations with one plugin from `load` to `unload`, made from a
 * number. What it breaks is a rule of plugin-api; no answer is expected.
 *
 * Owner: the verb. Threads: its one. */
#ifndef BERTH_HOST_AUTHOR_FUZZ_H
#define BERTH_HOST_AUTHOR_FUZZ_H

#include "author/transcript.h"

#define FUZZ_CONVERSATIONS 32 /* of a run */

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
};

/* fuzz_make.c: run number `run` of that seed. NULL: no memory. */
struct transcript *fuzz_make(uint64_t seed, uint64_t run, const struct fuzz_seeds *seeds,
                             bool datagrams);

/* fuzz_run.c: False: the run could not begin; *words says why. *found has an empty name when no
 * rule was broken; `rule`: only that one counts, NULL: the first. */
bool fuzz_run(const struct fuzz_trial *trial, const struct transcript *transcript, const char *rule,
              struct testbed_finding *found, struct bytes *words);
/* The step that is being run, for last words. */
size_t fuzz_run_step(void);

/* fuzz_shorten.c: removes what the rule is broken without. */
void fuzz_shorten(const struct fuzz_trial *trial, struct transcript *transcript, const char *rule);
/* Writes the first steps of it as text, piece by piece, without memory of the heap. */
void fuzz_write(const struct transcript *transcript, size_t steps,
                void (*write)(const char *text, size_t size));

#endif
