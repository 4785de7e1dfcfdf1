/* resp.h: commands as clients send them: arrays of RESP2, and inline commands.
 *
 * A command is taken piece by piece as it arrives, so that a large value needs no large message:
 * only a header line, or an inline command, waits for its end. Memory grows with the received
 * bytes, not with the announced size. Threads: of one reader, one at a time. */
#ifndef BERTH_EXAMPLES_KV_RESP_H
#define BERTH_EXAMPLES_KV_RESP_H

#include <stdbool.h>
#include <stdint.h>

struct store;

struct argument {
    uint8_t *bytes; /* allocated; terminated beyond `size`, for what is text */
    uint32_t size;
    uint32_t capacity;
};

struct resp_limits {
    uint32_t line_bytes;     /* of a header line or an inline command */
    uint32_t argument_bytes; /* the largest one */
    uint32_t arguments;      /* of one command */
};

enum resp_state {
    RESP_PART,         /* there is no whole command yet */
    RESP_COMMAND,      /* `arguments` and `count` say which */
    RESP_OUT_OF_LIMIT, /* a whole command that there was no memory for, and that is gone */
    RESP_BROKEN,       /* `error` says why: nothing can follow */
};

/* All zero to begin with. */
struct resp {
    struct argument *arguments;
    uint32_t count;
    uint32_t capacity; /* of the array */
    uint32_t missing;  /* arguments to come, with the one that has begun; 0: a command begins */
    uint32_t body;     /* bytes of the last argument to come, with its line's end */
    uint32_t searched; /* of the unfinished line, for its end */
    uint64_t held;     /* bytes of memory */
    uint64_t charged;  /* of them to the store's limit */
    bool in_body;
    bool is_dropped; /* the limit was reached: the rest of the command is skipped */
    char error[96];  /* as Redis words it, without "-ERR " */
};

/* Reads on; *used of the bytes are consumed. Before the next call after RESP_COMMAND: resp_reset().
 */
enum resp_state resp_read(struct resp *resp, struct store *store, const struct resp_limits *limits,
                          const uint8_t *bytes, uint32_t size, uint32_t *used);

/* Called after the command: frees it and its share of the limit. */
void resp_reset(struct resp *resp, struct store *store);

void resp_fini(struct resp *resp, struct store *store);

/* What the command has of the limit goes back to it, as it is about to be stored. */
void resp_uncharge(struct resp *resp, struct store *store);

/* A whole number, as strictly as Redis reads it: no spaces, no "+", no leading zero. */
bool resp_read_integer(const uint8_t *bytes, uint32_t size, int64_t *number);

#endif
