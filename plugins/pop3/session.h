/* session.h: one client's connection, and the parts that make it up:
 *
 * pop3.c     the plugin: configuration, callbacks
 * session.c  the life of a session: works and waits, one at a time; time-outs; the end
 * talk.c     the answers to each command
 * login.c    logging in
 * answer.c   answers of many lines, piece by piece
 *
 * A session does one thing at a time. What may block, or takes long, is a work: from session_work()
 * until session_ready() the session is `busy`, nothing is read from the client, and its pipelined
 * input stays unconsumed. While the work runs (`working`), the parts that belong to it are its own:
 * mailbox, login, answer. Everything else is touched on the connection's worker only.
 *
 * The connection may end while a work runs. The session then exists until the work has ended; the
 * last of the two to end frees it. */
#ifndef BERTH_PLUGINS_POP3_SESSION_H
#define BERTH_PLUGINS_POP3_SESSION_H

#include <berth/berth.h>
#include <stdbool.h>
#include <stdio.h>

#include "command.h"
#include "common/format.h"
#include "mailbox.h"
#include "stuffing.h"
#include "throttle.h"
#include "users.h"

/* Clients prefer APOP where it is offered, and no hashed entry can check it. */
enum {
    APOP_AUTO, /* offered where all users can use it */
    APOP_ALWAYS,
    APOP_NEVER,
};

/* -- what a listener has: unchanged while it is open ----------------------- */

struct site {
    const struct berth_timer_host *timer;
    const struct berth_work_host *work;
    struct users *users;
    struct throttle *throttle;
    uint32_t autologout_ms;
    uint32_t login_timeout_ms;
    uint32_t login_failures_max; /* of one session */
    uint32_t apop;               /* APOP_* */
    bool offers_apop;
};

/* -- a session ------------------------------------------------------------- */

enum session_state {
    SESSION_AUTHORIZATION,
    SESSION_TRANSACTION,
    SESSION_OVER, /* nothing more is answered */
};

enum { STAMP_BYTES_MAX = 64 };

/* Of one attempt. */
struct login {
    struct attempt attempt;
    bool is_apop;
    char name[COMMAND_BYTES_MAX + 1];
    char secret[COMMAND_BYTES_MAX + 1]; /* the password, or the digest */
    uint32_t secret_size;
    enum {
        LOGIN_DONE,
        LOGIN_WRONG,
        LOGIN_IN_USE,
        LOGIN_FAILED,
    } result;
    char words[MAILBOX_WORDS_MAX]; /* with LOGIN_FAILED: why, for the log */
};

/* One that is longer than a line. */
struct answer {
    enum {
        ANSWER_MESSAGE,
        ANSWER_SIZES,
        ANSWER_UIDS,
    } kind;
    bool is_begun;
    bool is_finished; /* `piece` is the last */
    bool is_failed;   /* there is no next piece */
    bool waits;       /* for the send queue */
    uint32_t number;  /* of the message; of the next one to be listed */
    struct stuffing stuffing;
    FILE *file;
    struct berth_slice piece;
};

struct session {
    struct berth_conn *conn; /* NULL: it has ended */
    const struct site *site;
    const struct berth_listener *listener;
    const struct berth_host *host;
    enum session_state state;
    bool busy;
    bool working;
    bool is_filled; /* the send queue */
    uint32_t failures;
    char user[COMMAND_BYTES_MAX + 1]; /* of USER; empty: there was none */
    char stamp[STAMP_BYTES_MAX];      /* of the greeting; empty: there is no APOP */
    struct berth_timer *timeout;
    struct berth_timer *pause;
    void (*task)(struct session *session);
    void (*then)(struct session *session);
    void (*again)(struct session *session);
    struct login login;
    struct answer answer;
    struct mailbox *mailbox;
    uint32_t left; /* by an update: messages that could not be removed */
};

/* NULL: out of memory, or out of timers. */
struct session *session_create(struct berth_conn *conn);

/* The connection has ended. */
void session_end(struct session *session);

/* Runs `task` on a thread of the pool, in delay_ms, and `then` on the connection's worker; neither
 * once the connection has ended. When the pool is full, it tries again. */
void session_work(struct session *session, uint64_t delay_ms, void (*task)(struct session *),
                  void (*then)(struct session *));

/* Runs `again` on the connection's worker in delay_ms; not once the connection has ended. */
void session_wait(struct session *session, uint64_t delay_ms, void (*again)(struct session *));

/* Lets what was answered leave before the next command is looked at. */
void session_yield(struct session *session);

/* The next command may come. */
void session_ready(struct session *session);

/* The client has done something: the time until it is logged out begins anew. */
void session_note_activity(struct session *session);

void session_say(struct session *session, const char *text);
void session_log(struct session *session, uint32_t level, const char *format, ...)
    PLUGIN_PRINTF(3, 4);

/* Closes in good order, when the mailbox has been given back. Nothing is removed by it. */
void session_close(struct session *session);

/* -- talk.c, login.c, answer.c --------------------------------------------- */

void talk_greet(struct session *session);
void talk_command(struct session *session, const uint8_t *line, const struct command *command);

/* `name` and `secret` lie in the line. */
void login_begin(struct session *session, bool is_apop, const char *name, const uint8_t *secret,
                 uint32_t secret_size);

/* `lines`: of the body of a message. */
void answer_message(struct session *session, uint32_t number, uint32_t lines);
void answer_list(struct session *session, bool uids);

/* The send queue has been drained. */
void answer_go_on(struct session *session);

#endif
