#include "net/last_words.h"

#include <stdio.h>

#include "base/address.h"
#include "base/log.h"
#include "net/plugin_call.h"
#include "os/os_crash.h"

enum { TEXT_BYTES = 1024, LINE_BYTES = 2048 };

static void (*tell_also)(const struct last_words *words);

static void say(const struct log_subject *subject, const char *text) {
    char line[LINE_BYTES];
    os_crash_write(line, log_format(line, sizeof(line), LOG_LEVEL_ERROR, subject, text));
}

/* "callback received of generation 1 (1.2.3), connection 17 from 127.0.0.1:4000" */
static void describe_call(const struct plugin_thread *thread, char *text, size_t size) {
    const struct plugin_account *account = atomic_load(&thread->account);
    const struct connection *connection = atomic_load(&thread->connection);
    char remote[BERTH_ADDRESS_TEXT_MAX];
    int used = snprintf(text, size, "callback %s of generation %u (%s)",
                        plugin_callback_name(atomic_load(&thread->callback)),
                        account ? account->generation : 0, account ? account->version : "");
    if (connection && used > 0 && (size_t)used < size) {
        address_format(&connection->remote, remote, sizeof(remote));
        snprintf(text + used, size - (size_t)used, ", connection %llu from %s",
                 (unsigned long long)connection->public.id, remote);
    }
}

static void on_crash(const struct os_crash *crash) {
    const struct plugin_thread *thread = &plugin_thread;
    const struct plugin_account *account = atomic_load(&thread->account);
    const char *listener = atomic_load(&thread->listener);
    bool called = (atomic_load(&thread->sequence) & 1) != 0;
    struct log_subject subject = {0};
    struct last_words words = {0};
    char text[TEXT_BYTES];
    char where[TEXT_BYTES / 2] = "the host itself";
    char address[32] = "";
    if (called) {
        subject = (struct log_subject){account ? account->id : NULL, listener};
        snprintf(words.plugin, sizeof(words.plugin), "%s", account ? account->id : "");
        snprintf(words.listener, sizeof(words.listener), "%.63s", listener ? listener : "");
        snprintf(words.callback, sizeof(words.callback), "%s",
                 plugin_callback_name(atomic_load(&thread->callback)));
        words.generation = account ? account->generation : 0;
        describe_call(thread, where, sizeof(where));
    }
    if (crash->has_address) {
        snprintf(address, sizeof(address), " (0x%llx)", (unsigned long long)crash->address);
    }
    snprintf(text, sizeof(text), "crash: %s%s, in %s", crash->what, address, where);
    say(&subject, text);
    if (tell_also) {
        tell_also(&words);
    }
    for (unsigned i = 0; i < crash->frame_count; i++) {
        os_crash_describe(crash->frames[i], where, sizeof(where));
        snprintf(text, sizeof(text), "crash: #%u %s", i, where);
        say(&subject, text);
    }
}

void last_words_start(void (*also)(const struct last_words *words)) {
    tell_also = also;
    os_crash_start(on_crash);
}
