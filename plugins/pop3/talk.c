#include <string.h>

#include "session.h"

static const char *const no_message = "-ERR no such message\r\n";

void talk_greet(struct session *session) {
    uint64_t numbers[2];
    char text[STAMP_BYTES_MAX + 32];
    if (session->site->offers_apop && crypto_random(numbers, sizeof(numbers))) {
        snprintf(session->stamp, sizeof(session->stamp), "<%016llx.%016llx@berth>",
                 (unsigned long long)numbers[0], (unsigned long long)numbers[1]);
    }
    snprintf(text, sizeof(text), "+OK POP3 ready%s%s\r\n", session->stamp[0] != '\0' ? " " : "",
             session->stamp);
    session_say(session, text);
}

/* -- before the log-in ----------------------------------------------------- */

static void talk_copy_text(char to[COMMAND_BYTES_MAX + 1], const uint8_t *from, uint32_t size) {
    memcpy(to, from, size);
    to[size] = '\0';
}

static void do_user(struct session *session, const uint8_t *line, const struct command *command) {
    talk_copy_text(session->user, line + command->text_at, command->text_size);
    session_say(session,
                "+OK the password, please\r\n"); /* the same answer if there is no such user */
}

static void do_pass(struct session *session, const uint8_t *line, const struct command *command) {
    if (session->user[0] == '\0') {
        session_say(session, "-ERR USER comes first\r\n");
        return;
    }
    login_begin(session, false, session->user, line + command->text_at, command->text_size);
    session->user[0] = '\0'; /* a second attempt begins with USER again */
}

static void do_apop(struct session *session, const uint8_t *line, const struct command *command) {
    char name[COMMAND_BYTES_MAX + 1];
    if (session->stamp[0] == '\0') {
        session_say(session, "-ERR there is no APOP here\r\n");
        return;
    }
    talk_copy_text(name, line + command->text_at, command->text_size);
    session->user[0] = '\0';
    login_begin(session, true, name, line + command->digest_at, command->digest_size);
}

/* -- after it -------------------------------------------------------------- */

static void say_number(struct session *session, const char *before, uint64_t number,
                       const char *after) {
    char text[MAILBOX_UID_MAX + 64];
    snprintf(text, sizeof(text), "%s %llu %s\r\n", before, (unsigned long long)number, after);
    session_say(session, text);
}

static void do_stat(struct session *session, const struct command *command) {
    const struct mailbox *mailbox = session->mailbox;
    char octets[24];
    (void)command;
    snprintf(octets, sizeof(octets), "%llu", (unsigned long long)mailbox_octets(mailbox));
    say_number(session, "+OK", mailbox->count - mailbox->deleted, octets);
}

static void do_list(struct session *session, const struct command *command) {
    const struct message *message = mailbox_message(session->mailbox, command->number);
    char text[MAILBOX_UID_MAX + 1];
    bool uids = command->kind == COMMAND_UIDL;
    if (command->count == 0) {
        answer_list(session, uids);
        return;
    }
    if (!message) {
        session_say(session, no_message);
        return;
    }
    if (uids) {
        mailbox_uid(message, text);
    } else {
        snprintf(text, sizeof(text), "%llu", (unsigned long long)message->octets);
    }
    say_number(session, "+OK", command->number, text);
}

static void do_message(struct session *session, const struct command *command) {
    if (!mailbox_message(session->mailbox, command->number)) {
        session_say(session, no_message);
        return;
    }
    answer_message(session, command->number,
                   command->kind == COMMAND_TOP ? command->lines : STUFFING_ALL_LINES);
}

static void do_dele(struct session *session, const struct command *command) {
    struct message *message = mailbox_message(session->mailbox, command->number);
    if (!message) {
        session_say(session, no_message);
        return;
    }
    mailbox_mark(session->mailbox, message);
    session_say(session, "+OK it goes with QUIT\r\n");
}

static void do_noop(struct session *session, const struct command *command) {
    (void)command;
    session_say(session, "+OK\r\n");
}

static void do_rset(struct session *session, const struct command *command) {
    (void)command;
    mailbox_unmark_all(session->mailbox);
    session_say(session, "+OK nothing is deleted\r\n");
}

static void talk_update(struct session *session) {
    session->left = mailbox_update(session->mailbox);
    mailbox_close(session->mailbox); /* before the answer: the next session may follow at once */
    session->mailbox = NULL;
}

static void talk_updated(struct session *session) {
    if (session->left > 0) {
        session_log(session, BERTH_LOG_ERROR, "%u deleted messages could not be removed",
                    (unsigned)session->left);
        session_say(session, "-ERR [SYS/PERM] some deleted messages are not removed\r\n");
    } else {
        session_say(session, "+OK goodbye\r\n");
    }
    session_close(session);
}

/* -- in both --------------------------------------------------------------- */

static void do_quit(struct session *session) {
    if (session->state == SESSION_TRANSACTION) {
        session_work(session, 0, talk_update, talk_updated);
        return;
    }
    session_say(session, "+OK goodbye\r\n");
    session_close(session);
}

static void do_capa(struct session *session) {
    session_say(session, "+OK\r\nTOP\r\nUSER\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\n"
                         "PIPELINING\r\nEXPIRE NEVER\r\nIMPLEMENTATION Berth\r\n.\r\n");
}

static bool do_before_login(struct session *session, const uint8_t *line,
                            const struct command *command) {
    switch (command->kind) {
    case COMMAND_USER:
        do_user(session, line, command);
        return true;
    case COMMAND_PASS:
        do_pass(session, line, command);
        return true;
    case COMMAND_APOP:
        do_apop(session, line, command);
        return true;
    default:
        return false;
    }
}

static bool do_after_login(struct session *session, const struct command *command) {
    static void (*const functions[])(struct session *, const struct command *) = {
        [COMMAND_DELE] = do_dele,    [COMMAND_LIST] = do_list, [COMMAND_NOOP] = do_noop,
        [COMMAND_RETR] = do_message, [COMMAND_RSET] = do_rset, [COMMAND_STAT] = do_stat,
        [COMMAND_TOP] = do_message,  [COMMAND_UIDL] = do_list, [COMMAND_UNKNOWN] = NULL,
    };
    if (!functions[command->kind]) {
        return false;
    }
    functions[command->kind](session, command);
    return true;
}

void talk_command(struct session *session, const uint8_t *line, const struct command *command) {
    session_note_activity(session);
    if (command->kind == COMMAND_UNKNOWN) {
        session_say(session, "-ERR unknown command\r\n");
    } else if (command->kind == COMMAND_ARGUMENTS) {
        session_say(session, "-ERR wrong arguments\r\n");
    } else if (command->kind == COMMAND_QUIT) {
        do_quit(session);
    } else if (command->kind == COMMAND_CAPA) {
        do_capa(session);
    } else if (!(session->state == SESSION_AUTHORIZATION ? do_before_login(session, line, command)
                                                         : do_after_login(session, command))) {
        session_say(session, session->state == SESSION_AUTHORIZATION
                                 ? "-ERR log in first\r\n"
                                 : "-ERR already logged in\r\n");
    }
}
