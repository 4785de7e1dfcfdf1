/* options.h: the client's command line. */
#ifndef BERTH_LOAD_OPTIONS_H
#define BERTH_LOAD_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "berth/address.h"

struct error;

#define OPTIONS_SERVER_PIDS_MAX 16

enum options_mode {
    MODE_ECHO,   /* round trips */
    MODE_STREAM, /* both ways at once */
    MODE_SHORT,  /* connect, send, receive, close */
    MODE_IDLE,   /* one round trip, then nothing */
    MODE_SILENT, /* not even that */
    MODE_SLOW,   /* sends much and reads little */
};

struct options {
    struct berth_address target;
    enum options_mode mode;
    uint32_t connections;
    uint32_t block;    /* connections in a block */
    double block_rate; /* bytes a second for a block; 0: as fast as the server answers */
    uint32_t message_bytes;
    uint32_t pipeline;   /* messages on their way at once */
    uint64_t operations; /* 0: no limit */
    double seconds;      /* 0: no limit */
    double warmup_seconds;
    double connect_rate; /* a second; 0: no limit */
    uint32_t connecting_max;
    uint32_t read_rate;        /* bytes a second for a slow reader */
    double patience_seconds;   /* for what must still come at the end, and for connects */
    struct berth_address from; /* the first source address */
    uint32_t from_count;       /* 0: the system's choice */
    bool server_closes;
    bool reset;
    bool quiet;
    uint32_t processes;
    uint32_t server_pids[OPTIONS_SERVER_PIDS_MAX]; /* whose processor time is measured */
    uint32_t server_pid_count;
    const char *http;     /* the path to get; NULL: no HTTP */
    const char *body;     /* the file it gives; NULL: not compared */
    const char *question; /* NULL: the server echoes, or --http */
    const char *answer;
    const char *json; /* NULL: none; "-": the standard output */
};

extern const char options_help[];

/* What the words ask for. */
enum options_wish { OPTIONS_RUN, OPTIONS_HELP, OPTIONS_VERSION };

/* False with an error. */
bool options_parse(struct options *options, int count, char **words, enum options_wish *wish,
                   struct error *error);
const char *options_mode_name(enum options_mode mode);

/* The source address of the connection with that number. */
struct berth_address options_from(const struct options *options, uint32_t connection);

#endif
