/* dialogue.h: a question that is always the same, and how to tell its answer from the next one.
 *
 * For servers that do not echo. The answer is either a text that is known beforehand, or one of
 * HTTP: a head with the status 200 and a Content-Length, and so many bytes behind it, compared with
 * a file where there is one.
 *
 * Owner: one for the program. Threads: any, after dialogue_start(). */
#ifndef BERTH_LOAD_DIALOGUE_H
#define BERTH_LOAD_DIALOGUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;
struct options;

#define DIALOGUE_HEAD_MAX 1024

/* How far the answer on one connection has come. All zero at its beginning. */
struct answer {
    uint64_t at;   /* in the text, or in the body */
    uint64_t left; /* of the body */
    uint32_t head_size;
    bool in_body;
    char head[DIALOGUE_HEAD_MAX];
};

/* Prepares what the options ask for; their message_bytes become the question's. */
bool dialogue_start(struct options *options, struct error *error);

/* Whether there is one: else the server echoes. */
bool dialogue_is_on(void);

/* The rest of the question that stands at this place of a stream of them. It stays there. */
const uint8_t *dialogue_question(uint64_t position, size_t *size);

/* Takes what came; returns how many answers that completed. Less than 0: it is wrong, and `why`
 * says how. */
int dialogue_take(struct answer *answer, const uint8_t *bytes, size_t size, const char **why);

#endif
