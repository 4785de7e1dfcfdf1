/* replay.h: plays a transcript to a plugin on the bench, under every way the bytes could arrive.
 *
 *     as-written      each message in one piece
 *     with-accept     as written, and the accept brings the first one
 *     byte-by-byte    each byte alone
 *     two-way-cuts    each message in two pieces, at every place in turn
 *     at-once         all that the client says in one piece, before it reads any answer
 *     small-takes     the client takes 7 bytes at a time
 *     full-queue      the same, and the send queue is full at 64 bytes: `filled` and `drained`
 *     several-workers as written, on a host with three workers
 *     half-close      the client finishes, at every place in turn
 *     reset           the client resets, at every place in turn
 *
 * The answers must be the same; where the client leaves, what was answered before must be, and all
 * that the plugin had must come back. Every run has a `load` and a bench of its own. */
#ifndef BERTH_HOST_DEVKIT_REPLAY_H
#define BERTH_HOST_DEVKIT_REPLAY_H

#include "devkit/results.h"
#include "devkit/transcript.h"

struct replay_options {
    const char *config_json; /* where the transcript has none; NULL: none */
    const char *folder;      /* of relative paths in a config; NULL: the transcript's */
};

/* Adds a verdict for each delivery. */
void replay_transcript(const struct berth_plugin *plugin, const struct transcript *transcript,
                       const struct replay_options *options, struct results *results);

/* Whether a delivery is called so. */
bool replay_knows(const char *delivery);

/* Where a run is, for the last words of a process that crashes or hangs. [any] */
const char *replay_place(void);

#endif
