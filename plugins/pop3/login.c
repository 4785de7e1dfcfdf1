/* login.c: logging in.
 *
 * An attempt waits as long as its client has to (throttle.h), then a work verifies the password and
 * opens the mailbox. Neither the answer nor its time reveals whether a user exists. The password is
 * stored only in the session, from the command until its verification: pop3.c overwrites the
 * received line. */
#include <string.h>

#include "session.h"

/* -- on a thread of the pool ----------------------------------------------- */

static bool is_right(const struct session *session, const struct user *user) {
    const struct login *login = &session->login;
    const struct password *password = user ? &user->password : NULL;
    if (login->is_apop) {
        return password_verify_apop(password, session->stamp, login->secret, login->secret_size);
    }
    return password_verify(password, session->site->users->rounds_max, login->secret,
                           login->secret_size);
}

static void login_verify(struct session *session) {
    struct login *login = &session->login;
    const struct user *user = users_find(session->site->users, login->name);
    bool right = is_right(session, user) && user;
    password_forget(login->secret, sizeof(login->secret));
    throttle_end(session->site->throttle, &login->attempt, right,
                 session->host->now_ms(session->host));
    login->result = LOGIN_WRONG;
    if (!right) {
        return;
    }
    switch (mailbox_open(user->maildir, &session->mailbox, login->words)) {
    case MAILBOX_OPEN:
        login->result = LOGIN_DONE;
        break;
    case MAILBOX_IN_USE:
        login->result = LOGIN_IN_USE;
        break;
    case MAILBOX_FAILED:
        login->result = LOGIN_FAILED;
        break;
    }
}

/* -- on the connection's worker -------------------------------------------- */

static struct berth_address login_client_of(const struct session *session) {
    struct berth_conn_info info = {.struct_size = sizeof(info)};
    session->host->conn_info(session->conn, &info);
    return info.remote;
}

/* The user name in a form for the log: the client's bytes need not be UTF-8. */
static const char *login_shown(struct session *session) {
    for (char *at = session->login.name; *at != '\0'; at++) {
        if (*at < 0x20 || *at > 0x7e) {
            *at = '?';
        }
    }
    return session->login.name;
}

static void login_wrong(struct session *session) {
    session_log(session, BERTH_LOG_INFO, "log-in failed: user \"%s\"", login_shown(session));
    session_say(session, "-ERR [AUTH] wrong user name or password\r\n");
    session->failures++;
    if (session->failures >= session->site->login_failures_max) {
        session_close(session);
        return;
    }
    session_ready(session);
}

static void login_verified(struct session *session) {
    char text[96];
    switch (session->login.result) {
    case LOGIN_DONE:
        session->state = SESSION_TRANSACTION;
        session_log(session, BERTH_LOG_INFO, "logged in: user \"%s\", %u messages",
                    login_shown(session), (unsigned)session->mailbox->count);
        if (session->mailbox->foreign > 0) {
            session_log(session, BERTH_LOG_WARN,
                        "%u files in the mailbox of user \"%s\" are no messages of its owner, but "
                        "links, FIFOs or of others: left out",
                        (unsigned)session->mailbox->foreign, login_shown(session));
        }
        snprintf(text, sizeof(text), "+OK %u messages, %llu octets\r\n",
                 (unsigned)session->mailbox->count,
                 (unsigned long long)mailbox_octets(session->mailbox));
        session_say(session, text);
        session_ready(session);
        return;
    case LOGIN_WRONG:
        login_wrong(session);
        return;
    case LOGIN_IN_USE:
        session_say(session, "-ERR [IN-USE] another session has the mailbox\r\n");
        session_ready(session);
        return;
    case LOGIN_FAILED:
        session_log(session, BERTH_LOG_ERROR, "the mailbox of user \"%s\" cannot be opened: %s",
                    login_shown(session), session->login.words);
        session_say(session, "-ERR [SYS/PERM] the mailbox cannot be opened\r\n");
        session_ready(session);
        return;
    }
}

static void login_ask(struct session *session) {
    struct login *login = &session->login;
    uint64_t wait_ms;
    switch (throttle_begin(session->site->throttle, &login->attempt,
                           session->host->now_ms(session->host), &wait_ms)) {
    case THROTTLE_GO:
        session_work(session, wait_ms, login_verify, login_verified);
        return;
    case THROTTLE_ASK_AGAIN:
        session_wait(session, wait_ms, login_ask);
        return;
    case THROTTLE_TURNED_AWAY:
        password_forget(login->secret, sizeof(login->secret));
        session_log(session, BERTH_LOG_INFO, "log-in turned away: too many attempts");
        session_say(session, "-ERR [SYS/TEMP] too many attempts to log in, try again later\r\n");
        session_close(session);
        return;
    }
}

void login_begin(struct session *session, bool is_apop, const char *name, const uint8_t *secret,
                 uint32_t secret_size) {
    struct login *login = &session->login;
    memset(login, 0, sizeof(*login));
    login->attempt.client = login_client_of(session);
    login->is_apop = is_apop;
    snprintf(login->name, sizeof(login->name), "%s", name);
    memcpy(login->secret, secret, secret_size);
    login->secret_size = secret_size;
    login_ask(session);
}
