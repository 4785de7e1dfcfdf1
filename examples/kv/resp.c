#include "kv/resp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kv/inline.h"
#include "kv/store.h"

enum {
    UNCHARGED_BYTES = 65536, /* of a command: a full store still answers GET, and DEL most of all */
    FIRST_ARGUMENTS = 8,
    KEPT_ARGUMENTS = 64, /* of the array, from command to command */
};

bool resp_read_integer(const uint8_t *bytes, uint32_t size, int64_t *number) {
    bool is_negative = size > 1 && bytes[0] == '-';
    uint64_t value = 0;
    uint32_t at = is_negative ? 1 : 0;
    uint64_t max = is_negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;
    if (at == size || size > 20 || (bytes[at] == '0' && size > 1)) {
        return false;
    }
    for (; at < size; at++) {
        uint32_t digit = (uint32_t)bytes[at] - '0';
        if (digit > 9 || value > (max - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    *number = is_negative ? (int64_t)(~value + 1) : (int64_t)value;
    return true;
}

static enum resp_state broken(struct resp *resp, const char *text) {
    snprintf(resp->error, sizeof(resp->error), "Protocol error: %s", text);
    return RESP_BROKEN;
}

/* -- memory ---------------------------------------------------------------- */

/* So much more is held. False: the limit is reached. */
static bool hold(struct resp *resp, struct store *store, uint64_t bytes) {
    uint64_t beyond =
        resp->held + bytes > UNCHARGED_BYTES ? resp->held + bytes - UNCHARGED_BYTES : 0;
    if (beyond > resp->charged) {
        if (!store_reserve(store, beyond - resp->charged)) {
            return false;
        }
        resp->charged = beyond;
    }
    resp->held += bytes;
    return true;
}

void resp_uncharge(struct resp *resp, struct store *store) {
    store_release(store, resp->charged);
    resp->charged = 0;
}

void resp_reset(struct resp *resp, struct store *store) {
    for (uint32_t i = 0; i < resp->count; i++) {
        free(resp->arguments[i].bytes);
    }
    resp->count = 0;
    resp_uncharge(resp, store);
    resp->held = 0;
    if (resp->capacity > KEPT_ARGUMENTS) {
        free(resp->arguments);
        resp->arguments = NULL;
        resp->capacity = 0;
    }
}

void resp_fini(struct resp *resp, struct store *store) {
    resp_reset(resp, store);
    free(resp->arguments);
    memset(resp, 0, sizeof(*resp));
}

static void drop(struct resp *resp, struct store *store) {
    resp_reset(resp, store);
    resp->is_dropped = true;
}

/* One more argument, still empty. False: there is no memory. */
static bool argument_begin(struct resp *resp, struct store *store) {
    if (resp->count == resp->capacity) {
        uint32_t capacity = resp->capacity > 0 ? resp->capacity * 2 : FIRST_ARGUMENTS;
        if (!hold(resp, store, (uint64_t)(capacity - resp->capacity) * sizeof(struct argument))) {
            return false;
        }
        struct argument *grown = realloc(resp->arguments, capacity * sizeof(struct argument));
        if (!grown) {
            return false;
        }
        resp->arguments = grown;
        resp->capacity = capacity;
    }
    memset(&resp->arguments[resp->count++], 0, sizeof(struct argument));
    return true;
}

/* Bytes of the last argument, which will have `rest` more. False: there is no memory. */
static bool argument_append(struct resp *resp, struct store *store, const uint8_t *bytes,
                            uint32_t size, uint32_t rest) {
    struct argument *argument = &resp->arguments[resp->count - 1];
    uint32_t needed = argument->size + size;
    if (needed + 1 > argument->capacity) {
        uint32_t whole = needed + rest;
        uint32_t twice = needed * 2;
        uint32_t capacity = (whole < twice ? whole : twice) + 1;
        if (!hold(resp, store, capacity - argument->capacity)) {
            return false;
        }
        uint8_t *grown = realloc(argument->bytes, capacity);
        if (!grown) {
            return false;
        }
        argument->bytes = grown;
        argument->capacity = capacity;
    }
    if (size > 0) {
        memcpy(argument->bytes + argument->size, bytes, size);
    }
    argument->size = needed;
    argument->bytes[needed] = '\0';
    return true;
}

/* -- arrays ---------------------------------------------------------------- */

static enum resp_state command_done(struct resp *resp) {
    bool is_dropped = resp->is_dropped;
    resp->is_dropped = false;
    return is_dropped ? RESP_OUT_OF_LIMIT : RESP_COMMAND;
}

/* The bytes of an argument, as many as there are. */
static enum resp_state read_body(struct resp *resp, struct store *store, const uint8_t *bytes,
                                 uint32_t size, uint32_t *used) {
    uint32_t taken = size < resp->body ? size : resp->body;
    uint32_t text = resp->body > 2 ? resp->body - 2 : 0; /* without the line's end */
    uint32_t part = taken < text ? taken : text;
    if (!resp->is_dropped && !argument_append(resp, store, bytes, part, text - part)) {
        drop(resp, store);
    }
    resp->body -= taken;
    *used += taken;
    if (resp->body > 0) {
        return RESP_PART;
    }
    resp->in_body = false;
    resp->missing--;
    return resp->missing == 0 ? command_done(resp) : RESP_PART;
}

/* "$SIZE" */
static enum resp_state begin_argument(struct resp *resp, struct store *store,
                                      const struct resp_limits *limits, const uint8_t *line,
                                      uint32_t size) {
    int64_t number = 0;
    if (size == 0 || line[0] != '$') {
        char text[40];
        unsigned char got = size > 0 ? line[0] : '\r';
        snprintf(text, sizeof(text), "expected '$', got '%c'", got < ' ' || got > '~' ? ' ' : got);
        return broken(resp, text);
    }
    if (!resp_read_integer(line + 1, size - 1, &number) || number < 0 ||
        number > (int64_t)limits->argument_bytes) {
        return broken(resp, "invalid bulk length");
    }
    if (!resp->is_dropped && !argument_begin(resp, store)) {
        drop(resp, store);
    }
    resp->in_body = true;
    resp->body = (uint32_t)number + 2;
    return RESP_PART;
}

/* "*COUNT" */
static enum resp_state begin_array(struct resp *resp, const struct resp_limits *limits,
                                   const uint8_t *line, uint32_t size) {
    int64_t number = 0;
    if (!resp_read_integer(line + 1, size - 1, &number) || number > (int64_t)limits->arguments) {
        return broken(resp, "invalid multibulk length");
    }
    resp->missing = number > 0 ? (uint32_t)number : 0; /* an empty command is none */
    return RESP_PART;
}

/* -- inline commands ------------------------------------------------------- */

/* The words of the line, separated by spaces; `word` has room for the line. */
static enum resp_state split_line(struct resp *resp, struct store *store, const uint8_t *line,
                                  uint32_t size, uint8_t *word) {
    uint32_t at = 0;
    uint32_t length = 0;
    enum inline_state state;
    while ((state = inline_next(line, size, &at, word, &length)) == INLINE_WORD) {
        if (!resp->is_dropped &&
            !(argument_begin(resp, store) && argument_append(resp, store, word, length, 0))) {
            drop(resp, store);
        }
    }
    if (state == INLINE_UNBALANCED) {
        return broken(resp, "unbalanced quotes in request");
    }
    return resp->count > 0 || resp->is_dropped ? command_done(resp) : RESP_PART;
}

static enum resp_state read_inline(struct resp *resp, struct store *store, const uint8_t *line,
                                   uint32_t size) {
    uint8_t *word = malloc(size + 1u);
    if (!word) {
        return RESP_OUT_OF_LIMIT;
    }
    enum resp_state state = split_line(resp, store, line, size, word);
    free(word);
    return state;
}

/* -- what comes ------------------------------------------------------------ */

static enum resp_state too_long(struct resp *resp, uint8_t first) {
    if (resp->missing > 0) {
        return broken(resp, "too big bulk count string");
    }
    return broken(resp, first == '*' ? "too big mbulk count string" : "too big inline request");
}

static enum resp_state read_line(struct resp *resp, struct store *store,
                                 const struct resp_limits *limits, const uint8_t *bytes,
                                 uint32_t size, uint32_t *used) {
    const uint8_t *end = memchr(bytes + resp->searched, '\n', size - resp->searched);
    uint32_t length = end ? (uint32_t)(end - bytes) : size;
    if (length > limits->line_bytes) {
        return too_long(resp, bytes[0]);
    }
    if (!end) {
        resp->searched = size;
        return RESP_PART;
    }
    resp->searched = 0;
    *used += length + 1;
    length -= length > 0 && bytes[length - 1] == '\r' ? 1 : 0;
    if (resp->missing > 0) {
        return begin_argument(resp, store, limits, bytes, length);
    }
    if (length > 0 && bytes[0] == '*') {
        return begin_array(resp, limits, bytes, length);
    }
    return read_inline(resp, store, bytes, length);
}

enum resp_state resp_read(struct resp *resp, struct store *store, const struct resp_limits *limits,
                          const uint8_t *bytes, uint32_t size, uint32_t *used) {
    enum resp_state state = RESP_PART;
    *used = 0;
    while (state == RESP_PART && *used < size) {
        uint32_t before = *used;
        state = resp->in_body ? read_body(resp, store, bytes + before, size - before, used)
                              : read_line(resp, store, limits, bytes + before, size - before, used);
        if (*used == before) {
            break;
        }
    }
    return state;
}
