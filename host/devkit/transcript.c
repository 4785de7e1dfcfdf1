#include "devkit/transcript.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "devkit/replay.h"
#include "manifest/manifest.h"
#include "os/os.h"

enum {
    FILE_BYTES_MAX = 4 * 1024 * 1024,
    WAIT_MS_MAX = 1000 * 60 * 60 * 24,
    WORKERS_MAX = 16,
    TAKES_MAX = 65536,
};

static const struct {
    const char *word;
    uint32_t refuses;
} refusals[] = {
    {"buffers", TESTBED_REFUSES_BUFFERS}, {"work", TESTBED_REFUSES_WORK},
    {"timers", TESTBED_REFUSES_TIMERS},   {"connects", TESTBED_REFUSES_CONNECTS},
    {"files", TESTBED_REFUSES_FILES},     {"posts", TESTBED_REFUSES_POSTS},
    {"sends", TESTBED_REFUSES_SENDS},     {"extensions", TESTBED_HAS_NO_EXTENSIONS},
};

struct reader {
    struct transcript *transcript;
    unsigned line;
    bool ended[TRANSCRIPT_CLIENTS_MAX]; /* clients that have finished or reset */
    bool joins;                         /* the previous line has the same kind and client */
    struct error *error;
};

static bool transcript_complain(const struct reader *reader, const char *what, const char *text) {
    return error_set(reader->error, "%s:%u: %s \"%.80s\"", reader->transcript->path, reader->line,
                     what, text);
}

static bool transcript_out_of_memory(const struct reader *reader) {
    return error_set(reader->error, "%s: out of memory", reader->transcript->path);
}

/* -- texts ----------------------------------------------------------------- */

static int transcript_hex_digit(char c) {
    const char *digits = "0123456789abcdef";
    const char *found = c ? strchr(digits, tolower((unsigned char)c)) : NULL;
    return found ? (int)(found - digits) : -1;
}

/* Reads the byte after a backslash; returns the number of characters, 0: not a valid escape. */
static size_t transcript_read_escape(const char *text, uint8_t *byte) {
    static const char plain[] = "rnt0\\{";
    static const char meant[] = "\r\n\t\0\\{";
    const char *found = text[0] ? strchr(plain, text[0]) : NULL;
    if (found) {
        *byte = (uint8_t)meant[found - plain];
        return 1;
    }
    if (text[0] == 'x' && transcript_hex_digit(text[1]) >= 0 &&
        transcript_hex_digit(text[2]) >= 0) {
        *byte = (uint8_t)(transcript_hex_digit(text[1]) * 16 + transcript_hex_digit(text[2]));
        return 3;
    }
    return 0;
}

static bool add_byte(struct step *step, uint8_t byte, uint8_t wild) {
    return bytes_add(&step->text, &byte, 1) && bytes_add(&step->wild, &wild, 1);
}

static bool transcript_read_text(const struct reader *reader, struct step *step, const char *text) {
    while (*text) {
        uint8_t byte = (uint8_t)*text;
        uint8_t wild = WILD_NOT;
        size_t length = 1;
        if (*text == '\\') {
            length = transcript_read_escape(text + 1, &byte) + 1;
            if (length == 1) {
                return transcript_complain(reader, "not an escape:", text);
            }
        } else if (step->kind == STEP_EXPECT && strncmp(text, "{**}", 4) == 0) {
            wild = WILD_ALL;
            length = 4;
        } else if (step->kind == STEP_EXPECT && strncmp(text, "{*}", 3) == 0) {
            wild = WILD_LINE;
            length = 3;
        }
        if (!add_byte(step, byte, wild)) {
            return transcript_out_of_memory(reader);
        }
        text += length;
    }
    return true;
}

/* -- steps ----------------------------------------------------------------- */

/* `upstream` is the first one, `upstream2` the second. */
static int upstream_of(const char *name) {
    static const char word[] = "upstream";
    if (strncmp(name, word, sizeof(word) - 1) != 0) {
        return -1;
    }
    long number = strtol(name + sizeof(word) - 1, NULL, 10);
    return number > 1 ? (int)number - 1 : 0;
}

static int find_client(const struct reader *reader, const char *name) {
    struct transcript *transcript = reader->transcript;
    for (unsigned i = 0; i < transcript->client_count; i++) {
        if (strcmp(transcript->clients[i].name, name) == 0) {
            return (int)i;
        }
    }
    if (transcript->client_count == TRANSCRIPT_CLIENTS_MAX) {
        transcript_complain(reader, "too many clients:", name);
        return -1;
    }
    struct transcript_client *client = &transcript->clients[transcript->client_count];
    snprintf(client->name, sizeof(client->name), "%s", name);
    client->upstream = upstream_of(name);
    return (int)transcript->client_count++;
}

static struct step *new_step(struct reader *reader, enum plan_item_kind kind, unsigned client) {
    struct transcript *transcript = reader->transcript;
    struct step *last =
        transcript->step_count > 0 ? &transcript->steps[transcript->step_count - 1] : NULL;
    bool text = kind == STEP_SEND || kind == STEP_EXPECT;
    if (reader->joins && text && last && last->kind == kind && last->client == client &&
        !transcript->datagrams) {
        return last;
    }
    struct step *grown =
        alloc_resize(transcript->steps, (transcript->step_count + 1) * sizeof(*grown));
    if (!grown) {
        transcript_out_of_memory(reader);
        return NULL;
    }
    transcript->steps = grown;
    struct step *step = &grown[transcript->step_count++];
    *step = (struct step){.kind = kind, .line = reader->line, .client = client};
    return step;
}

static bool read_wait(const struct reader *reader, struct step *step, const char *text) {
    char *end = NULL;
    unsigned long long number = strtoull(text[0] == '+' ? text + 1 : text, &end, 10);
    if (strcmp(end, "s") == 0) {
        number *= 1000;
    } else if (strcmp(end, "ms") != 0) {
        return transcript_complain(reader, "expected a time like +500ms or +2s, found", text);
    }
    step->wait_ms = number;
    return number <= WAIT_MS_MAX || transcript_complain(reader, "a day is the most, not", text);
}

static bool read_state(const struct reader *reader, struct step *step, const char *text) {
    static const char *const names[] = {"open", "finished", "closed", "reset"};
    for (unsigned i = 0; i < ARRAY_COUNT(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            step->state = (enum testbed_state)i;
            return true;
        }
    }
    return transcript_complain(reader, "expected closed, reset, finished or open, found", text);
}

/* `restart`, or `refuses` and what. */
static bool read_host_step(const struct reader *reader, struct step *step, const char *text) {
    static const char word[] = "refuses ";
    if (strcmp(text, "restart") == 0) {
        step->kind = STEP_RESTART;
        return true;
    }
    if (strncmp(text, word, sizeof(word) - 1) != 0) {
        return transcript_complain(
            reader, "expected \"restart\", or \"refuses\" and services, found", text);
    }
    text += sizeof(word) - 1;
    while (*text && strcmp(text, "nothing") != 0) {
        size_t length = strcspn(text, " ");
        size_t at = 0;
        while (at < ARRAY_COUNT(refusals) && (strlen(refusals[at].word) != length ||
                                              strncmp(refusals[at].word, text, length) != 0)) {
            at++;
        }
        if (at == ARRAY_COUNT(refusals)) {
            return transcript_complain(
                reader,
                "expected buffers, work, timers, connects, files, posts, sends, "
                "extensions or nothing, found",
                text);
        }
        step->refuses |= refusals[at].refuses;
        text += length + strspn(text + length, " ");
    }
    return true;
}

void transcript_refusals(uint32_t refuses, char *text, size_t size) {
    size_t used = 0;
    snprintf(text, size, "nothing");
    for (size_t i = 0; i < ARRAY_COUNT(refusals) && used < size; i++) {
        if ((refuses & refusals[i].refuses) != 0) {
            used += (size_t)snprintf(text + used, size - used, "%s%s", used > 0 ? " " : "",
                                     refusals[i].word);
        }
    }
}

/* A client sends nothing after its end, unless it connects again. */
static bool transcript_note_end(struct reader *reader, const struct step *step) {
    bool *ended = &reader->ended[step->client];
    bool says = step->kind == STEP_SEND || step->kind == STEP_FINISH;
    if (says && *ended) {
        return false;
    }
    if (step->kind == STEP_FINISH || step->kind == STEP_RESET) {
        *ended = true;
    } else if (step->kind == STEP_CONNECT) {
        *ended = false;
    }
    return true;
}

/* A client with a step after a restart connects again. */
static bool note_restart(struct reader *reader, const struct step *step) {
    if (step->kind == STEP_RESTART) {
        memset(reader->ended, 0, sizeof(reader->ended));
    }
    return true;
}

/* `line` begins at the operator. */
static bool read_step(struct reader *reader, const char *line, const char *client_name) {
    static const char operators[] = "+><|!@=*";
    const char *operator= strchr(operators, line[0]);
    if (!operator||(line[1] != '\0' && line[1] != ' ')) {
        return transcript_complain(
            reader, "not a step (> < | ! @ = +, behind the client's name if any; *):", line);
    }
    const char *text = line[1] ? line + 2 : "";
    int client = line[0] == '*' ? 0 : find_client(reader, client_name);
    struct step *step =
        client < 0 ? NULL
                   : new_step(reader, (enum plan_item_kind[]){STEP_CONNECT, STEP_SEND, STEP_EXPECT,
                                                         STEP_FINISH, STEP_RESET, STEP_WAIT,
                                                         STEP_STATE,
                                                         STEP_REFUSE}[operator - operators],
                              (unsigned)client);
    if (!step) {
        return false;
    }
    if (!transcript_note_end(reader, step)) {
        return transcript_complain(reader, "the client has finished or reset before:", line);
    }
    switch (step->kind) {
    case STEP_SEND:
    case STEP_EXPECT:
        reader->joins = true;
        return transcript_read_text(reader, step, text);
    case STEP_WAIT:
        return read_wait(reader, step, text);
    case STEP_STATE:
        return read_state(reader, step, text);
    case STEP_REFUSE:
        return read_host_step(reader, step, text) && note_restart(reader, step);
    default:
        return text[0] == '\0' ||
               transcript_complain(reader, "nothing may stand behind it, but found", text);
    }
}

/* -- the head -------------------------------------------------------------- */

static bool transcript_read_config(const struct reader *reader, const char *text) {
    if (reader->transcript->config) {
        return transcript_complain(reader, "a second config:", text);
    }
    if (!manifest_json_check(text, reader->error)) {
        return error_prefix(reader->error, "%s:%u: the config: ", reader->transcript->path,
                            reader->line);
    }
    reader->transcript->config = alloc_string(text);
    return reader->transcript->config || transcript_out_of_memory(reader);
}

static bool read_skip(const struct reader *reader, const char *text) {
    struct transcript *transcript = reader->transcript;
    struct transcript_skip *skip = &transcript->skips[transcript->skip_count];
    const char *colon = strchr(text, ':');
    if (!colon || (size_t)(colon - text) >= sizeof(skip->delivery) || colon[1] != ' ' ||
        transcript->skip_count == TRANSCRIPT_SKIPS_MAX) {
        return transcript_complain(reader, "expected \"skip DELIVERY: reason\", found", text);
    }
    snprintf(skip->delivery, sizeof(skip->delivery), "%.*s", (int)(colon - text), text);
    if (!replay_knows(skip->delivery)) {
        return transcript_complain(
            reader,
            "expected as-written, with-accept, byte-by-byte, two-way-cuts, at-once, "
            "small-takes, full-queue, several-workers, half-close or reset, found",
            skip->delivery);
    }
    snprintf(skip->reason, sizeof(skip->reason), "%s", colon + 2);
    transcript->skip_count++;
    return true;
}

static bool transcript_read_number(const struct reader *reader, const char *text, uint32_t most,
                                   uint32_t *number) {
    char *end = NULL;
    char words[80];
    unsigned long long value = isdigit((unsigned char)text[0]) ? strtoull(text, &end, 10) : 0;
    if (value < 1 || value > most || *end != '\0') {
        snprintf(words, sizeof(words), "expected a number from 1 to %lu, found",
                 (unsigned long)most);
        return transcript_complain(reader, words, text);
    }
    *number = (uint32_t)value;
    return true;
}

static bool read_world(const struct reader *reader, const char *text) {
    return transcript_read_number(reader, text, UINT32_MAX, &reader->transcript->world);
}

static bool read_workers(const struct reader *reader, const char *text) {
    return transcript_read_number(reader, text, WORKERS_MAX, &reader->transcript->workers);
}

static bool read_takes(const struct reader *reader, const char *text) {
    return transcript_read_number(reader, text, TAKES_MAX, &reader->transcript->taken_at_a_time);
}

static bool transcript_read_line(struct reader *reader, const char *line) {
    static const struct {
        const char *word;
        bool (*read)(const struct reader *reader, const char *text);
    } heads[] = {{"config ", transcript_read_config},
                 {"skip ", read_skip},
                 {"world ", read_world},
                 {"workers ", read_workers},
                 {"takes ", read_takes}};
    for (size_t i = 0; i < ARRAY_COUNT(heads); i++) {
        size_t length = strlen(heads[i].word);
        if (strncmp(line, heads[i].word, length) == 0 && !strchr("+><|!@=*", line[length])) {
            return heads[i].read(reader, line + length);
        }
    }
    if (strcmp(line, "transport udp") == 0) {
        reader->transcript->datagrams = true;
        return true;
    }
    if (strchr("+><|!@=*", line[0])) {
        return read_step(reader, line, "");
    }
    char name[TRANSCRIPT_NAME_MAX + 1];
    size_t length = strcspn(line, " ");
    if (length > TRANSCRIPT_NAME_MAX || line[length] != ' ') {
        return transcript_complain(reader, "not a step, and not a head:", line);
    }
    snprintf(name, sizeof(name), "%.*s", (int)length, line);
    return read_step(reader, line + length + 1, name);
}

static bool transcript_read_lines(struct reader *reader, char *text) {
    while (*text) {
        char *end = strchr(text, '\n');
        char *next = end ? end + 1 : text + strlen(text);
        end = end ? end : next;
        while (end > text && strchr(" \t\r", end[-1])) {
            end--;
        }
        *end = '\0';
        reader->line++;
        if (text[0] == '\0' || text[0] == '#') {
            reader->joins = false;
        } else if (!transcript_read_line(reader, text)) {
            return false;
        }
        text = next;
    }
    return true;
}

struct transcript *transcript_read(const char *path, struct error *error) {
    char *text = NULL;
    size_t size = 0;
    struct transcript *transcript = alloc_zeroed(sizeof(*transcript));
    if (!transcript || !(transcript->path = alloc_string(path))) {
        transcript_free(transcript);
        error_set(error, "%s: out of memory", path);
        return NULL;
    }
    if (!os_file_read(path, FILE_BYTES_MAX, &text, &size, error)) {
        error_prefix(error, "reading %s: ", path);
        transcript_free(transcript);
        return NULL;
    }
    struct reader reader = {.transcript = transcript, .error = error};
    bool good = transcript_read_lines(&reader, text);
    if (good && transcript->client_count == 0) {
        good = error_set(error, "%s: there is no step in it", path);
    }
    alloc_free(text);
    if (!good) {
        transcript_free(transcript);
        return NULL;
    }
    return transcript;
}

void transcript_free(struct transcript *transcript) {
    if (!transcript) {
        return;
    }
    for (size_t i = 0; i < transcript->step_count; i++) {
        bytes_free(&transcript->steps[i].text);
        bytes_free(&transcript->steps[i].wild);
    }
    alloc_free(transcript->steps);
    alloc_free(transcript->config);
    alloc_free(transcript->path);
    alloc_free(transcript);
}

bool transcript_has_upstreams(const struct transcript *transcript) {
    for (size_t i = 0; i < transcript->step_count; i++) {
        const struct step *step = &transcript->steps[i];
        if (!step_is_host(step) && transcript->clients[step->client].upstream >= 0) {
            return true;
        }
    }
    return false;
}

const char *transcript_skips(const struct transcript *transcript, const char *delivery) {
    for (unsigned i = 0; i < transcript->skip_count; i++) {
        if (strcmp(transcript->skips[i].delivery, delivery) == 0) {
            return transcript->skips[i].reason;
        }
    }
    return NULL;
}

/* Backtracks to the last wildcard when the text after it does not match. */
bool transcript_matches(const struct bytes *text, const struct bytes *wild, const uint8_t *bytes,
                        size_t size, size_t *differ) {
    enum { WILD_KINDS = 3 };
    size_t at = 0;                                                /* in bytes */
    size_t in = 0;                                                /* in text */
    size_t retry_in[WILD_KINDS] = {SIZE_MAX, SIZE_MAX, SIZE_MAX}; /* the last one of each kind */
    size_t retry_at[WILD_KINDS] = {0};
    *differ = 0;
    for (;;) {
        *differ = at > *differ ? at : *differ;
        if (in == text->size && at == size) {
            return true;
        }
        if (in < text->size && wild->data[in] != WILD_NOT) {
            unsigned kind = wild->data[in];
            retry_in[kind] = ++in;
            retry_at[kind] = at;
            if (kind == WILD_ALL) {
                retry_in[WILD_LINE] = SIZE_MAX;
            }
        } else if (in < text->size && at < size && text->data[in] == bytes[at]) {
            in++;
            at++;
        } else if (retry_in[WILD_LINE] != SIZE_MAX && retry_at[WILD_LINE] < size &&
                   bytes[retry_at[WILD_LINE]] != '\n') {
            in = retry_in[WILD_LINE];
            at = ++retry_at[WILD_LINE];
        } else if (retry_in[WILD_ALL] != SIZE_MAX && retry_at[WILD_ALL] < size) {
            in = retry_in[WILD_ALL];
            at = ++retry_at[WILD_ALL];
            retry_in[WILD_LINE] = SIZE_MAX;
        } else {
            return false;
        }
    }
}
