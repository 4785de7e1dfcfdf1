#include "session.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { POOL_RETRY_MS = 100 };

/* -- talking --------------------------------------------------------------- */

void session_say(struct session *session, const char *text) {
    session->host->send(session->conn, text, (uint32_t)strlen(text));
}

void session_log(struct session *session, uint32_t level, const char *format, ...) {
    char text[MAILBOX_WORDS_MAX + COMMAND_BYTES_MAX + 64];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (size > 0) {
        uint32_t length = (uint32_t)(size < (int)sizeof(text) ? size : (int)sizeof(text) - 1);
        session->host->conn_log(session->conn, level, text, length);
    }
}

/* -- time-outs ------------------------------------------------------------- */

void session_note_activity(struct session *session) {
    if (session->state == SESSION_TRANSACTION) {
        session->site->timer->start(session->timeout, session->site->autologout_ms);
    }
}

/* RFC 1939, 3: closes without removing messages and without an answer. */
static void BERTH_CALL on_timeout(struct berth_timer *timer, void *argument) {
    struct session *session = argument;
    if (session->state == SESSION_OVER) {
        return;
    }
    if (session->working) { /* the session waits for a work, not for the client */
        session->site->timer->start(timer, session->state == SESSION_TRANSACTION
                                               ? session->site->autologout_ms
                                               : session->site->login_timeout_ms);
        return;
    }
    session_log(session, BERTH_LOG_INFO, "%s",
                session->state == SESSION_TRANSACTION ? "logged out: silent for too long"
                                                      : "cut: not logged in for too long");
    if (session->answer.waits) { /* a client that does not read would delay an orderly end, too */
        session->state = SESSION_OVER;
        session->host->abort(session->conn);
        return;
    }
    session_close(session);
}

/* -- works ----------------------------------------------------------------- */

static void BERTH_CALL released(struct berth_conn *conn, int32_t status, void *argument);

static void session_let_go(struct session *session) {
    if (session->answer.file) {
        fclose(session->answer.file);
    }
    mailbox_close(session->mailbox);
    session->answer.file = NULL;
    session->mailbox = NULL;
}

static void BERTH_CALL release(void *argument) {
    session_let_go(argument);
}

static void BERTH_CALL released(struct berth_conn *conn, int32_t status, void *argument) {
    struct session *session = argument;
    (void)conn;
    (void)status;
    session_let_go(session); /* if it never ran, as the host ends */
    free(session);
}

/* Called after the end of both connection and work. Files are closed off the I/O threads, if
 * possible. */
static void session_destroy(struct session *session) {
    session->host->buffer_release(session->answer.piece.buffer);
    throttle_cancel(session->site->throttle, &session->login.attempt);
    password_forget(&session->login, sizeof(session->login));
    if ((session->mailbox || session->answer.file) &&
        session->site->work->submit_for_listener(session->listener, release, released, session) ==
            BERTH_OK) {
        return;
    }
    session_let_go(session);
    free(session);
}

static void BERTH_CALL run(void *argument) {
    struct session *session = argument;
    session->task(session);
}

static void BERTH_CALL ran(struct berth_conn *conn, int32_t status, void *argument) {
    struct session *session = argument;
    (void)status;
    session->working = false;
    if (conn) {
        session->then(session);
    } else if (!session->conn) {
        session_destroy(session);
    }
}

static void session_submit(struct session *session) {
    int32_t status = session->site->work->submit(session->conn, run, ran, session);
    session->working = status == BERTH_OK;
    if (status == BERTH_E_LIMIT) {
        session->site->timer->start(session->pause, POOL_RETRY_MS);
    } else if (status != BERTH_OK) {
        session->state = SESSION_OVER;
        session->host->abort(session->conn);
    }
}

static void BERTH_CALL on_pause_over(struct berth_timer *timer, void *argument) {
    struct session *session = argument;
    (void)timer;
    if (session->state == SESSION_OVER) {
        return;
    }
    if (session->again) {
        void (*again)(struct session *) = session->again;
        session->again = NULL;
        again(session);
    } else if (session->task) {
        session_submit(session);
    } else {
        session_ready(session);
    }
}

void session_wait(struct session *session, uint64_t delay_ms, void (*again)(struct session *)) {
    session->busy = true;
    session->again = again;
    session->host->receive_pause(session->conn);
    session->site->timer->start(session->pause, delay_ms);
}

void session_yield(struct session *session) {
    session->busy = true;
    session->task = NULL;
    session->host->receive_pause(session->conn);
    session->site->timer->start(session->pause, 0);
}

void session_work(struct session *session, uint64_t delay_ms, void (*task)(struct session *),
                  void (*then)(struct session *)) {
    session->busy = true;
    session->host->receive_pause(session->conn);
    session->task = task;
    session->then = then;
    if (delay_ms > 0) {
        session->site->timer->start(session->pause, delay_ms);
    } else {
        session_submit(session);
    }
}

void session_ready(struct session *session) {
    session->busy = false;
    session_note_activity(session);
    session->host->receive_resume(session->conn);
}

/* -- beginning and end ----------------------------------------------------- */

static void close_connection(struct session *session) {
    session->host->close(session->conn);
}

/* Closes the mailbox first: the client may delay the end of the connection, and the next session
 * needs the mailbox. If no work can be started, the mailbox is closed with the connection. */
void session_close(struct session *session) {
    session->state = SESSION_OVER;
    if (session->mailbox && !session->working) {
        session->host->receive_pause(session->conn);
        session->task = session_let_go;
        session->then = close_connection;
        session->working =
            session->site->work->submit(session->conn, run, ran, session) == BERTH_OK;
    }
    if (!session->working) {
        close_connection(session);
    }
}

struct session *session_create(struct berth_conn *conn) {
    struct session *session = calloc(1, sizeof(*session));
    if (!session) {
        return NULL;
    }
    session->conn = conn;
    session->listener = conn->listener;
    session->site = conn->listener->state;
    session->host = conn->host;
    const struct berth_timer_host *timer = session->site->timer;
    session->timeout = timer->create_for_conn(conn, on_timeout, session);
    session->pause = timer->create_for_conn(conn, on_pause_over, session);
    if (!session->timeout || !session->pause) {
        free(session); /* the timers go with the connection, and never ran */
        return NULL;
    }
    timer->start(session->timeout, session->site->login_timeout_ms);
    return session;
}

void session_end(struct session *session) {
    session->conn = NULL;
    if (!session->working) {
        session_destroy(session);
    }
}
