/* transcript.h: a recorded conversation, as text.
 *
 *     # a comment; empty lines are ignored
 *     config {"root": "site"}          the listener's "config"; first, at most once
 *     skip at-once: two answers may overtake each other      a delivery to skip, and why
 *     world 17                         splits and delays of the network, by number, 1 to 4294967295
 *     workers 3                        the host's number of workers, 1 to 16
 *     takes 100                        clients read so many bytes at a time, 1 to 65536
 *     transport udp                    every > is a datagram, every < is the answer to it
 *
 *     > GET / HTTP/1.1\r\n             the client sends this
 *     > \r\n                           and this: consecutive lines are one message
 *     < HTTP/1.1 200 OK\r\n            the server has answered exactly this by now
 *     < Date: {*}\r\n                  {*} is anything up to the end of a line, {**} is anything
 *     @ +500ms                         the clock moves on
 *     |                                the client finishes (a FIN)
 *     !                                the client resets
 *     +                                the client connects; implied at its first step
 *     = closed                         the server has closed by now: closed, reset, finished, open
 *     bob > /nick bob\n                another client, with a name
 *     * refuses work timers            the host refuses these services from now on: buffers, work,
 *                                      timers, connects, files, posts, sends, extensions; nothing
 *     * restart                        the host stops and starts again: connections end
 *     upstream < GET                   a server that the plugin has connected to; upstream2, …
 *
 * Escapes in texts: \r \n \t \0 \\ \{ and \xNN. Spaces at the end of a line are removed: write
 * \x20.
 *
 * Owner: the reader. Threads: any; read-only afterwards. */
#ifndef BERTH_HOST_DEVKIT_TRANSCRIPT_H
#define BERTH_HOST_DEVKIT_TRANSCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devkit/bytes.h"
#include "devkit/testbed.h"

struct error;

#define TRANSCRIPT_CLIENTS_MAX 32
#define TRANSCRIPT_SKIPS_MAX 16
#define TRANSCRIPT_NAME_MAX 31

enum plan_item_kind {
    STEP_CONNECT,
    STEP_SEND,
    STEP_EXPECT,
    STEP_FINISH,
    STEP_RESET,
    STEP_WAIT,
    STEP_STATE,
    STEP_REFUSE, /* a step of the host, like the next one: without a client */
    STEP_RESTART,
};

/* Wildcards in an expected text. */
enum { WILD_NOT = 0, WILD_LINE = 1, WILD_ALL = 2 };

struct step {
    enum plan_item_kind kind;
    unsigned line;     /* in the file, from 1 */
    unsigned client;   /* index in the transcript's clients */
    struct bytes text; /* of STEP_SEND and STEP_EXPECT */
    struct bytes wild; /* WILD_* for each byte of an expected text */
    uint64_t wait_ms;
    enum testbed_state state;
    uint32_t refuses; /* TESTBED_* */
    bool is_idle;     /* it did nothing: its client had no connection */
};

struct transcript_client {
    char name[TRANSCRIPT_NAME_MAX + 1]; /* "" for the one without a name */
    int upstream;                       /* which one, from 0; -1: a client */
};

struct transcript_skip {
    char delivery[24];
    char reason[200];
};

struct transcript {
    char *path;
    char *config; /* NULL: none */
    bool datagrams;
    uint32_t world;           /* the number of a disturbed network; 0: undisturbed */
    uint32_t workers;         /* 0: not said */
    uint32_t taken_at_a_time; /* 0: not said */
    struct step *steps;
    size_t step_count;
    struct transcript_client clients[TRANSCRIPT_CLIENTS_MAX];
    unsigned client_count;
    struct transcript_skip skips[TRANSCRIPT_SKIPS_MAX];
    unsigned skip_count;
};

/* The error names file and line. */
struct transcript *transcript_read(const char *path, struct error *error);
void transcript_free(struct transcript *transcript); /* NULL is legal */

/* Whether it is a step of the host, and not of a client. */
static inline bool step_is_host(const struct step *step) {
    return step->kind == STEP_REFUSE || step->kind == STEP_RESTART;
}
/* Whether the plugin connects to one of its clients. */
bool transcript_has_upstreams(const struct transcript *transcript);
/* The arguments of `* refuses`: "work timers"; "nothing". */
void transcript_refusals(uint32_t refuses, char *text, size_t size);

/* Why this transcript skips the delivery; NULL: it does not. */
const char *transcript_skips(const struct transcript *transcript, const char *delivery);

/* Whether all bytes match the expected text. *differ is the offset of the first difference. */
bool transcript_matches(const struct bytes *text, const struct bytes *wild, const uint8_t *bytes,
                        size_t size, size_t *differ);

#endif
