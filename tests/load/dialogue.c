#include "dialogue.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "options.h"

#define QUESTION_MAX 65536
#define BODY_MAX (UINT32_C(1) << 30)

static uint8_t question[QUESTION_MAX], text[QUESTION_MAX];
static size_t question_size, text_size;
static bool is_http, has_body;
static uint8_t *body; /* NULL with has_body: it is empty */
static size_t body_size;

/* -- at the start ---------------------------------------------------------- */

/* \r, \n and \\ as in C. */
static bool unescape(const char *name, const char *from, uint8_t *to, size_t *size,
                     struct error *error) {
    for (*size = 0; *from; from++) {
        char byte = *from;
        if (*size == QUESTION_MAX) {
            return error_set(error, "%s: more than %d bytes", name, QUESTION_MAX);
        }
        if (byte == '\\') {
            byte = *++from;
            if (byte != 'r' && byte != 'n' && byte != '\\') {
                return error_set(error, "%s: after a backslash comes r, n or a backslash", name);
            }
            byte = byte == 'r' ? '\r' : byte == 'n' ? '\n' : byte;
        }
        to[(*size)++] = (uint8_t)byte;
    }
    return *size > 0 || error_set(error, "%s: it is empty", name);
}

static bool read_body(const char *path, struct error *error) {
    FILE *file = fopen(path, "rb");
    long size = -1;
    if (file && fseek(file, 0, SEEK_END) == 0) {
        size = ftell(file);
        rewind(file);
    }
    if (size >= 0 && size <= (long)BODY_MAX) {
        body = alloc_zeroed((size_t)size + 1);
        body_size = body ? fread(body, 1, (size_t)size, file) : 0;
    }
    bool whole = body && body_size == (size_t)size;
    if (!whole) {
        error_set(error, "--body %s: %s", path, file ? "it cannot be read" : strerror(errno));
    }
    if (file) {
        fclose(file);
    }
    has_body = true;
    return whole;
}

static bool start_http(const struct options *options, struct error *error) {
    int size =
        snprintf((char *)question, sizeof(question), "GET %s HTTP/1.1\r\nHost: bench\r\n%s\r\n",
                 options->http, options->mode == MODE_SHORT ? "Connection: close\r\n" : "");
    if (size < 0 || (size_t)size >= sizeof(question)) {
        return error_set(error, "--http: the path is too long");
    }
    is_http = true;
    question_size = (size_t)size;
    return !options->body || read_body(options->body, error);
}

bool dialogue_start(struct options *options, struct error *error) {
    bool started = true;
    if (options->http) {
        started = start_http(options, error);
    } else if (options->question) {
        started = unescape("--question", options->question, question, &question_size, error) &&
                  unescape("--answer", options->answer, text, &text_size, error);
    }
    if (started && question_size > 0) {
        options->message_bytes = (uint32_t)question_size;
    }
    return started;
}

bool dialogue_is_on(void) {
    return question_size > 0;
}

const uint8_t *dialogue_question(uint64_t position, size_t *size) {
    size_t at = (size_t)(position % question_size);
    *size = question_size - at;
    return question + at;
}

/* -- an answer ------------------------------------------------------------- */

/* The value of a header field in a head that ends in a zero, NULL without. */
static const char *field(const char *head, const char *name) {
    size_t length = strlen(name);
    for (const char *line = strchr(head, '\n'); line; line = strchr(line + 1, '\n')) {
        size_t i = 0;
        while (i < length && tolower((unsigned char)line[1 + i]) == name[i]) {
            i++;
        }
        if (i == length && line[1 + i] == ':') {
            return line + 2 + i;
        }
    }
    return NULL;
}

/* Digits to the end of the line, with blanks around them, and nothing else. */
static bool read_length(const char *text, uint64_t *length) {
    text += strspn(text, " \t");
    size_t digits = strspn(text, "0123456789");
    *length = strtoull(text, NULL, 10);
    return digits > 0 && digits < 20 &&
           strncmp(text + digits + strspn(text + digits, " \t"), "\r\n", 2) == 0;
}

/* Takes bytes up to the end of the head; returns how many. */
static size_t take_head(struct answer *answer, const uint8_t *bytes, size_t size,
                        const char **why) {
    for (size_t i = 0; i < size; i++) {
        if (answer->head_size == DIALOGUE_HEAD_MAX - 1) {
            *why = "the head is too long";
            return size;
        }
        answer->head[answer->head_size++] = (char)bytes[i];
        if (bytes[i] != '\n' || answer->head_size < 4 ||
            memcmp(answer->head + answer->head_size - 4, "\r\n\r\n", 4) != 0) {
            continue;
        }
        answer->head[answer->head_size] = '\0';
        const char *length = field(answer->head, "content-length");
        if (strncmp(answer->head, "HTTP/1.1 200 ", 13) != 0) {
            *why = "the status is not 200 in HTTP/1.1";
        } else if (!length) {
            *why = "the answer has no Content-Length";
        } else if (!read_length(length, &answer->left)) {
            *why = "the Content-Length is no number";
        } else {
            answer->at = 0;
            answer->in_body = true;
            if (has_body && answer->left != body_size) {
                *why = "the body is not as long as the file";
            }
        }
        return i + 1;
    }
    return size;
}

static size_t take_body(struct answer *answer, const uint8_t *bytes, size_t size,
                        const char **why) {
    size_t part = answer->left < size ? (size_t)answer->left : size;
    if (has_body && memcmp(body + answer->at, bytes, part) != 0) {
        *why = "the body is not the file";
    }
    answer->at += part;
    answer->left -= part;
    return part;
}

static size_t take_text(struct answer *answer, const uint8_t *bytes, size_t size,
                        const char **why) {
    size_t part = text_size - answer->at < size ? text_size - (size_t)answer->at : size;
    if (memcmp(text + answer->at, bytes, part) != 0) {
        *why = "the answer is another one";
    }
    answer->at += part;
    return part;
}

static bool is_complete(const struct answer *answer) {
    return is_http ? answer->in_body && answer->left == 0 : answer->at == text_size;
}

int dialogue_take(struct answer *answer, const uint8_t *bytes, size_t size, const char **why) {
    int complete = 0;
    *why = NULL;
    while (size > 0 && !*why) {
        size_t taken = !is_http          ? take_text(answer, bytes, size, why)
                       : answer->in_body ? take_body(answer, bytes, size, why)
                                         : take_head(answer, bytes, size, why);
        bytes += taken;
        size -= taken;
        if (!*why && is_complete(answer)) {
            complete++;
            answer->at = 0;
            answer->head_size = 0;
            answer->in_body = false;
        }
    }
    return *why ? -1 : complete;
}
