#include "options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/address.h"
#include "base/error.h"
#include "base/macros.h"

const char options_help[] =
    "berth-load: puts load on a server, checks every byte that comes back, and measures\n"
    "\n"
    "usage: berth-load [OPTION…] ADDRESS:PORT\n"
    "\n"
    "  -m, --mode MODE     echo     round trips on every connection (default)\n"
    "                      stream   every connection sends and receives all it can at once\n"
    "                      short    connect, send, receive, close; again and again\n"
    "                      idle     one round trip, then nothing until the end\n"
    "                      silent   connect and never send\n"
    "                      slow     send all that is taken, read --read-rate bytes a second\n"
    "  -c, --connections N at the same time (1)\n"
    "  -b, --block N       connections in a block; the next one is begun when a block is there\n"
    "                      (1000, or all where there are fewer)\n"
    "  -r, --rate N        bytes a second that each block sends, whether the server keeps up or\n"
    "                      not, and a block that is not full its share of that; latency then\n"
    "                      counts from when a message was due, also of those that could not be\n"
    "                      sent (0: as fast as the echoes come; echo only)\n"
    "  -s, --size N        bytes of a message (64)\n"
    "  --pipeline N        messages on their way at once on a connection (1; echo only)\n"
    "  -n, --operations N  end after so many operations (0: no limit)\n"
    "  -d, --duration S    end after so many seconds (10, or no limit with -n)\n"
    "  --warmup S          run so long before anything is counted (0)\n"
    "  --connect-rate N    connects a second (0: no limit); in short, latency then counts from\n"
    "                      when a connection was due, also of those that could not begin\n"
    "  --connecting N      connections under way at once, until they are served (128)\n"
    "  --read-rate N       for slow: bytes a second on each connection (1000)\n"
    "  --from FIRST[-LAST] source addresses, used in turn, as 127.0.0.1-127.0.0.20\n"
    "  --server-closes     in short, wait for the server's end instead of closing first\n"
    "  --reset             close with a reset\n"
    "  --patience S        a connection that owes something and has brought nothing for so long\n"
    "                      is given up; so is what is still missing so long after the end (10)\n"
    "  --http PATH         GET that instead of echoes (echo, short, idle): in short with\n"
    "                      \"Connection: close\"; the answer is 200 with a Content-Length\n"
    "  --body FILE         for --http: the body must be this file\n"
    "  --question TEXT     send this instead of echoes (echo, short, idle); \\r, \\n and \\\\ as "
    "in C\n"
    "  --answer TEXT       what must come back each time\n"
    "  --processes N       share the connections among so many processes (1; Linux)\n"
    "  --server-pid N      count the processor time of this process while measuring (Linux; may "
    "be\n"
    "                      given 16 times)\n"
    "  --json FILE         write the results there, too; - is the standard output, and what is\n"
    "                      for people then goes to the standard error\n"
    "  -q, --quiet         no line of progress every second\n"
    "  -h, --help\n"
    "  --version\n"
    "\n"
    "Values may be written -c5, --connections=5, or as the next word; behind -- come only words.\n"
    "\n"
    "Ctrl-C or SIGTERM ends the run early: what is on its way is waited for, and the results are\n"
    "told. A second one ends it at once.\n"
    "\n"
    "Exit codes: 0 fine; 1 when a byte was wrong, missing or too many, a connection was refused "
    "or\n"
    "cut, the run was ended early, or the results could not be written; 2 usage. With --mode "
    "silent\n"
    "and slow, the server may cut connections.\n";

static const char *const mode_names[] = {"echo", "stream", "short", "idle", "silent", "slow"};

enum kind {
    KIND_COUNT,
    KIND_BIG_COUNT,
    KIND_NUMBER,
    KIND_FLAG,
    KIND_TEXT,
    KIND_FILE,
    KIND_MODE,
    KIND_FROM,
    KIND_PID
};

struct known {
    const char *brief; /* NULL: none */
    const char *name;
    enum kind kind;
    size_t place;
    double min, max;
};

#define AT(member) offsetof(struct options, member)

static const struct known known_options[] = {
    {"-m", "--mode", KIND_MODE, AT(mode), 0, 0},
    {"-c", "--connections", KIND_COUNT, AT(connections), 1, 10e6},
    {"-b", "--block", KIND_COUNT, AT(block), 1, 10e6},
    {"-r", "--rate", KIND_NUMBER, AT(block_rate), 0, 1e12},
    {"-s", "--size", KIND_COUNT, AT(message_bytes), 1, 1 << 30},
    {NULL, "--pipeline", KIND_COUNT, AT(pipeline), 1, 1024},
    {"-n", "--operations", KIND_BIG_COUNT, AT(operations), 0, 1e15},
    {"-d", "--duration", KIND_NUMBER, AT(seconds), 0, 1e6},
    {NULL, "--warmup", KIND_NUMBER, AT(warmup_seconds), 0, 1e6},
    {NULL, "--connect-rate", KIND_NUMBER, AT(connect_rate), 0, 1e9},
    {NULL, "--connecting", KIND_COUNT, AT(connecting_max), 1, 1e6},
    {NULL, "--read-rate", KIND_COUNT, AT(read_rate), 1, 1e9},
    {NULL, "--from", KIND_FROM, 0, 0, 0},
    {NULL, "--server-closes", KIND_FLAG, AT(server_closes), 0, 0},
    {NULL, "--reset", KIND_FLAG, AT(reset), 0, 0},
    {NULL, "--patience", KIND_NUMBER, AT(patience_seconds), 0.1, 1e5},
    {NULL, "--processes", KIND_COUNT, AT(processes), 1, 256},
    {NULL, "--server-pid", KIND_PID, 0, 1, 1 << 30},
    {NULL, "--json", KIND_FILE, AT(json), 0, 0},
    {NULL, "--http", KIND_TEXT, AT(http), 0, 0},
    {NULL, "--body", KIND_FILE, AT(body), 0, 0},
    {NULL, "--question", KIND_TEXT, AT(question), 0, 0},
    {NULL, "--answer", KIND_TEXT, AT(answer), 0, 0},
    {"-q", "--quiet", KIND_FLAG, AT(quiet), 0, 0},
};

const char *options_mode_name(enum options_mode mode) {
    return mode_names[mode];
}

/* Also "--name=VALUE" and "-nVALUE": `value` is then what stands in the same word, else NULL. */
static const struct known *find(const char *word, const char **value) {
    const char *equals = strncmp(word, "--", 2) == 0 ? strchr(word, '=') : NULL;
    size_t length = equals ? (size_t)(equals - word) : strlen(word);
    *value = equals ? equals + 1 : NULL;
    for (size_t i = 0; i < ARRAY_COUNT(known_options); i++) {
        const struct known *known = &known_options[i];
        if (strlen(known->name) == length && strncmp(word, known->name, length) == 0) {
            return known;
        }
        if (known->brief && strncmp(word, known->brief, 2) == 0) {
            *value = word[2] != '\0' ? word + 2 : NULL;
            return known;
        }
    }
    return NULL;
}

static bool read_number(const struct known *known, const char *text, void *place,
                        struct error *error) {
    char *end;
    errno = 0;
    double number = strtod(text, &end);
    if (end == text || *end != '\0' || errno != 0 || !isfinite(number)) {
        return error_set(error, "%s: \"%s\" is no number", known->name, text);
    }
    if (number < known->min || number > known->max) {
        return error_set(error, "%s: %s is not between %.12g and %.12g", known->name, text,
                         known->min, known->max);
    }
    if (known->kind != KIND_NUMBER && number != floor(number)) {
        return error_set(error, "%s: %s is no whole number", known->name, text);
    }
    if (known->kind == KIND_NUMBER) {
        *(double *)place = number;
    } else if (known->kind == KIND_BIG_COUNT) {
        *(uint64_t *)place = (uint64_t)number;
    } else {
        *(uint32_t *)place = (uint32_t)number;
    }
    return true;
}

static bool read_mode(const char *text, enum options_mode *mode, struct error *error) {
    for (size_t i = 0; i < ARRAY_COUNT(mode_names); i++) {
        if (strcmp(text, mode_names[i]) == 0) {
            *mode = (enum options_mode)i;
            return true;
        }
    }
    return error_set(error, "--mode: \"%s\" is none of echo, stream, short, idle, silent, slow",
                     text);
}

static bool read_ipv4(const char *text, struct berth_address *address, struct error *error) {
    char with_port[BERTH_ADDRESS_TEXT_MAX];
    snprintf(with_port, sizeof(with_port), "%s:0", text);
    if (!address_parse(address, with_port, error)) {
        return error_prefix(error, "--from: ");
    }
    if (address->family != BERTH_FAMILY_IPV4) {
        return error_set(error, "--from: %s is no IPv4 address", text);
    }
    return true;
}

static uint32_t ipv4_number(const struct berth_address *address) {
    const uint8_t *bytes = address->bytes;
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static bool read_from(struct options *options, const char *text, struct error *error) {
    char first[BERTH_ADDRESS_TEXT_MAX] = "";
    const char *dash = strchr(text, '-');
    struct berth_address last;
    size_t length = dash ? (size_t)(dash - text) : strlen(text);
    if (length >= sizeof(first) || (dash && strlen(dash + 1) >= sizeof(first) - 2)) {
        return error_set(error, "--from: \"%s\" is no address", text);
    }
    memcpy(first, text, length);
    if (!read_ipv4(first, &options->from, error) ||
        !read_ipv4(dash ? dash + 1 : first, &last, error)) {
        return false;
    }
    if (ipv4_number(&last) < ipv4_number(&options->from)) {
        return error_set(error, "--from: the last address of %s is before the first", text);
    }
    options->from_count = ipv4_number(&last) - ipv4_number(&options->from) + 1;
    return options->from_count > 0 ||
           error_set(error, "--from: %s are more addresses than can be counted", text);
}

struct berth_address options_from(const struct options *options, uint32_t connection) {
    struct berth_address address = options->from;
    uint32_t number = ipv4_number(&address) + connection % options->from_count;
    for (unsigned i = 0; i < 4; i++) {
        address.bytes[i] = (uint8_t)(number >> (24 - 8 * i));
    }
    return address;
}

static bool read_value(struct options *options, const struct known *known, const char *text,
                       struct error *error) {
    void *place = (char *)options + known->place;
    switch (known->kind) {
    case KIND_MODE:
        return read_mode(text, place, error);
    case KIND_FROM:
        return read_from(options, text, error);
    case KIND_PID:
        if (options->server_pid_count == OPTIONS_SERVER_PIDS_MAX) {
            return error_set(error, "--server-pid: more than %d", OPTIONS_SERVER_PIDS_MAX);
        }
        return read_number(known, text, &options->server_pids[options->server_pid_count++], error);
    case KIND_FILE:
        if (text[0] == '\0' || (text[0] == '-' && text[1] != '\0')) {
            return error_set(error, "%s wants the name of a file, and not \"%s\"", known->name,
                             text);
        }
        *(const char **)place = text;
        return true;
    case KIND_TEXT:
        *(const char **)place = text;
        return true;
    default:
        return read_number(known, text, place, error);
    }
}

static bool check_dialogue(const struct options *options, struct error *error) {
    bool on = options->http || options->question;
    bool mode_fits =
        options->mode == MODE_ECHO || options->mode == MODE_SHORT || options->mode == MODE_IDLE;
    if (on && !mode_fits) {
        return error_set(error, "--http and --question are for --mode echo, short and idle");
    }
    if (options->http && options->question) {
        return error_set(error, "--http and --question: one of them");
    }
    if (!options->question != !options->answer) {
        return error_set(error, "--question and --answer go together");
    }
    if (options->body && !options->http) {
        return error_set(error, "--body is for --http");
    }
    return true;
}

/* What is right alone and wrong together. */
static bool check(struct options *options, struct error *error) {
    bool round_trips = options->mode == MODE_ECHO;
    bool no_operations = options->mode == MODE_IDLE || options->mode == MODE_SILENT;
    if (options->target.family == BERTH_FAMILY_NONE) {
        return error_set(error, "no address to connect to");
    }
    if (options->target.port == 0) {
        return error_set(error, "nobody listens on port 0");
    }
    if (!round_trips && (options->block_rate > 0 || options->pipeline > 1)) {
        return error_set(error, "--rate and --pipeline are for --mode echo");
    }
    if (options->server_closes && options->mode != MODE_SHORT) {
        return error_set(error, "--server-closes is for --mode short");
    }
    if (options->operations > 0 && no_operations) {
        return error_set(error, "--operations: --mode %s has none",
                         options_mode_name(options->mode));
    }
    if (options->from_count > 0 && options->target.family != BERTH_FAMILY_IPV4) {
        return error_set(error, "--from is for IPv4");
    }
    if (options->processes > options->connections) {
        return error_set(error, "--processes: more than there are connections");
    }
    if (options->operations > 0 && options->processes > options->operations) {
        return error_set(error, "--processes: more than there are operations");
    }
    if (options->block > options->connections) {
        options->block = options->connections;
    }
    if (options->seconds < 0) {
        options->seconds = options->operations > 0 ? 0 : 10;
    }
    if (options->seconds == 0 && options->operations == 0) {
        return error_set(error, "it would never end: give --duration or --operations");
    }
    return check_dialogue(options, error);
}

static bool read_address(struct options *options, const char *word, struct error *error) {
    if (options->target.family != BERTH_FAMILY_NONE) {
        return error_set(error, "unexpected word \"%s\"", word);
    }
    return address_parse(&options->target, word, error);
}

/* The option at words[*index], and its value in the same word or in the next one. */
static bool read_option(struct options *options, int count, char **words, int *index,
                        struct error *error) {
    const char *word = words[*index], *value;
    const struct known *known = find(word, &value);
    if (!known) {
        return error_set(error, "unknown option \"%s\"", word);
    }
    if (known->kind == KIND_FLAG) {
        *(bool *)((char *)options + known->place) = true;
        return !value || error_set(error, "%s takes no value", known->name);
    }
    if (!value && ++*index == count) {
        return error_set(error, "%s wants a value", word);
    }
    return read_value(options, known, value ? value : words[*index], error);
}

bool options_parse(struct options *options, int count, char **words, enum options_wish *wish,
                   struct error *error) {
    bool only_words = false;
    *wish = OPTIONS_RUN;
    *options = (struct options){.connections = 1,
                                .block = 1000,
                                .message_bytes = 64,
                                .pipeline = 1,
                                .seconds = -1,
                                .connecting_max = 128,
                                .read_rate = 1000,
                                .patience_seconds = 10,
                                .processes = 1};
    for (int i = 1; i < count; i++) {
        const char *word = words[i];
        bool is_word = only_words || word[0] != '-';
        if (is_word && !read_address(options, word, error)) {
            return false;
        }
        if (is_word) {
            continue;
        }
        if (strcmp(word, "--") == 0) {
            only_words = true;
        } else if (strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0) {
            *wish = OPTIONS_HELP;
            return true;
        } else if (strcmp(word, "--version") == 0) {
            *wish = OPTIONS_VERSION;
            return true;
        } else if (!read_option(options, count, words, &i, error)) {
            return false;
        }
    }
    return check(options, error);
}
