/* replay.h: replays a transcript to a plugin on the testbed, in every way in which the bytes could
 * arrive.
 *
 *     as-written      each message in one piece
 *     with-accept     as written; the accept includes the first one
 *     byte-by-byte    each byte separately
 *     two-way-cuts    each message in two pieces, split at every position
 *     at-once         everything of the client in one piece, before it reads any answer
 *     small-takes     the client reads 7 bytes at a time
 *     full-queue      the same, and the send queue is full at 64 bytes: `filled` and `drained`
 *     several-workers as written, on a host with three workers
 *     half-close      the client sends a FIN, at every position
 *     reset           the client resets, at every position
 *
 * The answers must be the same. Where the client leaves early, the answers before must be the same,
 * and the plugin must release everything. Every run has its own `load` and testbed. */
#ifndef BERTH_HOST_DEVKIT_REPLAY_H
#define BERTH_HOST_DEVKIT_REPLAY_H

#include "devkit/results.h"
#include "devkit/transcript.h"

struct replay_options {
    const char *config_json; /* used if the transcript has no config; NULL: none */
    const char *folder;      /* of relative paths in a config; NULL: the transcript's */
};

/* Adds a result for each delivery. */
void replay_transcript(const struct berth_plugin *plugin, const struct transcript *transcript,
                       const struct replay_options *options, struct results *results);

/* Whether a delivery of this name exists. */
bool replay_knows(const char *delivery);

/* The position of the current run, for the crash report. [any] */
const char *replay_place(void);

#endif
