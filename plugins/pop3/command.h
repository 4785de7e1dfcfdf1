/* command.h: the parser of a client's line. Pure; does not allocate.
 *
 * Source: RFC 1939, RFC 2449. */
#ifndef BERTH_PLUGINS_POP3_COMMAND_H
#define BERTH_PLUGINS_POP3_COMMAND_H

#include <stdint.h>

/* RFC 2449, 4: 255 octets with the end of the line. The end of a longer one is unknown, so it ends
 * the session. */
enum { COMMAND_BYTES_MAX = 255 };

enum command_kind {
    COMMAND_APOP,
    COMMAND_CAPA,
    COMMAND_DELE,
    COMMAND_LIST,
    COMMAND_NOOP,
    COMMAND_PASS,
    COMMAND_QUIT,
    COMMAND_RETR,
    COMMAND_RSET,
    COMMAND_STAT,
    COMMAND_TOP,
    COMMAND_UIDL,
    COMMAND_USER,
    COMMAND_UNKNOWN,   /* no such command, or a line with bytes that no line may have */
    COMMAND_ARGUMENTS, /* a command that wants other arguments */
};

struct command {
    enum command_kind kind;
    uint32_t size;    /* of the line, with its end */
    uint32_t count;   /* of numbers */
    uint32_t number;  /* of a message; what is too large for it is UINT32_MAX */
    uint32_t lines;   /* of TOP */
    uint32_t text_at; /* of USER, PASS and APOP: where the name or password begins in the line */
    uint32_t text_size;
    uint32_t digest_at; /* of APOP */
    uint32_t digest_size;
};

enum command_verdict {
    COMMAND_WHOLE,
    COMMAND_PART,     /* not received completely yet */
    COMMAND_TOO_LONG, /* it has more than COMMAND_BYTES_MAX */
};

/* Parses the first line. A line ends in LF or CR LF. */
enum command_verdict command_read(const uint8_t *bytes, uint32_t size, struct command *command);

#endif
