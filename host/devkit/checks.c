#include "devkit/checks.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/text.h"
#include "devkit/library.h"
#include "devkit/symbols.h"
#include "devkit/testbed.h"
#include "os/os.h"
#include "os/os_process.h"

enum {
    STEP_LIMIT_S = 10, /* of one callback, approximately */
    CYCLES = 100,
    CYCLES_WARM_UP = 20,
    SERIES_MAX = 3,
    GROWTH_BYTES_MAX = 256 * 1024, /* in CYCLES cycles: memory that allocators retain */
    GROWTH_HANDLES_MAX = 2,
    AFTER_MS = 10 * 60 * 1000,
    WORDS_BYTES = 512,
    FINDINGS_SHOWN = 8,
    LONG_LINE_BYTES = 100000,
    RANDOM_BYTES = 2000,
    DATAGRAM_BYTES_MAX = 65507,
    IDLE_MS = 60000,
    CLIENTS_A_CYCLE = 20, /* amplifies a leak per connection to some KiB a cycle */
};

const char *const check_names[CHECK_COUNT] = {
    "file",       "library",       "exports",  "entry",        "descriptor",
    "load",       "listener-open", "config",   "conversation", "busy-answer",
    "later-host", "no-extensions", "shortage", "load-cycles",  "two-generations",
};

/* State shared by the checks; static, so that the crash report can name the current check. */
static struct {
    enum check check;
    struct library library;
    char *config; /* --config; NULL: none */
    char folder[OS_PATH_MAX];
    bool config_given;
    bool openable; /* `listener_open` accepts `config` */
} run;

/* -- output to the parent -------------------------------------------------- */

static void check_log(char kind, enum check check, const char *words) {
    char line[2048];
    int length = snprintf(line, sizeof(line) - 1, "%c%c%s\t%s", CHECKS_MARK, kind,
                          check_names[check], words);
    size_t size = length < (int)sizeof(line) - 2 ? (size_t)length : sizeof(line) - 2;
    for (size_t i = 0; i < size; i++) {
        line[i] = line[i] == '\n' ? '\v' : line[i];
    }
    line[size++] = '\n';
    os_process_write(line, size);
}

static void check_begin(enum check check) {
    run.check = check;
    watchdog_step();
    check_log(CHECKS_BEGIN, check, "");
}

static bool check_result(enum result result, const char *format, ...) BERTH_PRINTF(2, 3);
static bool check_result(enum result result, const char *format, ...) {
    char words[1500];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(words, sizeof(words), format, arguments);
    va_end(arguments);
    check_log((char)('0' + result), run.check, words);
    return result == RESULT_PASSED;
}

/* The check that corresponds to the stage that library_open() has reached. */
static enum check check_of_stage(enum library_stage stage) {
    static const enum check checks[] = {CHECK_FILE, CHECK_LIBRARY, CHECK_EXPORTS, CHECK_ENTRY,
                                        CHECK_DESCRIPTOR};
    return checks[stage];
}

/* Reports the checks before `reached` as passed. */
static void check_log_passed(enum check reached) {
    for (unsigned check = CHECK_FILE; check < (unsigned)reached; check++) {
        run.check = (enum check)check;
        if (check != CHECK_ENTRY) { /* the entry point is called a second time later */
            check_result(RESULT_PASSED, "%s", "");
        }
    }
}

static void check_crash_report(const char *what, const char *callback, bool no_code) {
    char where[128];
    char words[256];
    if (run.check == CHECK_FILE) { /* while the library is opened */
        enum check reached = check_of_stage(run.library.stage);
        check_log_passed(reached);
        run.check = reached;
    }
    if (run.check <= CHECK_DESCRIPTOR) {
        callback = run.check == CHECK_ENTRY ? BERTH_PLUGIN_ENTRY_NAME : "the system's loader";
    }
    tool_place(where, sizeof(where), callback, no_code);
    snprintf(words, sizeof(words), "the plugin %s %s", what, where);
    check_log('0' + RESULT_FAILED, run.check, words);
}

/* -- testbeds of a trial --------------------------------------------------- */

/* The failures of one or several testbeds. */
struct trial {
    struct bytes wrong; /* empty: nothing */
};

static void trial_note(struct trial *trial, const char *format, ...) BERTH_PRINTF(2, 3);
static void trial_note(struct trial *trial, const char *format, ...) {
    char words[600];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(words, sizeof(words), format, arguments);
    va_end(arguments);
    if (!trial->wrong.data || !strstr((const char *)trial->wrong.data, words)) {
        bytes_add_format(&trial->wrong, "%s%s", trial->wrong.size > 0 ? "\n" : "", words);
    }
}

/* Reports the result; `words` is the text of a passed check. */
static bool trial_result(struct trial *trial, const char *words) {
    bool good = trial->wrong.size == 0;
    check_result(good ? RESULT_PASSED : RESULT_FAILED, "%s",
                 good ? words : (const char *)trial->wrong.data);
    bytes_free(&trial->wrong);
    return good;
}

static void trial_end(struct trial *trial, struct testbed *bed) {
    watchdog_step();
    testbed_stop(bed);
    size_t count = testbed_finding_count(bed);
    for (size_t i = 0; i < count && i < FINDINGS_SHOWN; i++) {
        const struct testbed_finding *found = testbed_finding_at(bed, i);
        trial_note(trial, "%s%s%s: %s", found->name, found->callback[0] ? " in " : "",
                   found->callback, found->words);
    }
    testbed_destroy(bed);
    watchdog_step();
}

static struct testbed_options options_with(const char *config) {
    return (struct testbed_options){.config_json = config ? config : run.config,
                                    .config_folder = run.folder};
}

/* A testbed with the plugin loaded and its listener open. NULL: refused; the reason is in the
 * trial. */
static struct testbed *trial_begin(struct trial *trial, const struct berth_plugin *plugin,
                                   const struct testbed_options *options) {
    char words[WORDS_BYTES];
    struct testbed *bed = testbed_create(plugin, options);
    if (!bed) {
        trial_note(trial, "out of memory");
        return NULL;
    }
    if (testbed_load(bed, words, sizeof(words)) != BERTH_OK ||
        testbed_open(bed, words, sizeof(words)) != BERTH_OK) {
        trial_end(trial, bed);
        return NULL;
    }
    return bed;
}

/* -- what clients send ----------------------------------------------------- */

enum leave { LEAVE_FINISH, LEAVE_RESET, LEAVE_STAY, LEAVE_COUNT };

static void check_end_process(struct testbed_conn *conn, enum leave how) {
    switch (how) {
    case LEAVE_FINISH:
        testbed_client_finish(conn);
        break;
    case LEAVE_RESET:
        testbed_client_reset(conn);
        break;
    default:
        break;
    }
}

/* One client sends these bytes and ends its connection in the given way. */
static void check_visit(struct testbed *bed, const void *bytes, size_t size, size_t piece,
                        enum leave how) {
    watchdog_step();
    if (testbed_is_datagrams(bed)) {
        testbed_datagram(bed, bytes, size <= DATAGRAM_BYTES_MAX ? size : DATAGRAM_BYTES_MAX);
        return;
    }
    struct testbed_conn *conn = testbed_connect(bed);
    for (size_t at = 0; conn && at < size; at += piece) {
        testbed_client_send(conn, (const uint8_t *)bytes + at,
                            size - at < piece ? size - at : piece);
    }
    if (conn) {
        check_end_process(conn, how);
    }
}

/* The same, then time advances until every timer has fired. */
static void check_send_text(struct testbed *bed, const void *bytes, size_t size, size_t piece,
                            enum leave how) {
    check_visit(bed, bytes, size, piece, how);
    testbed_advance(bed, AFTER_MS);
}

/* The same on every system and at every run. */
static void fill_random(uint8_t *bytes, size_t size) {
    uint32_t state = 12345;
    for (size_t i = 0; i < size; i++) {
        state = state * 1664525u + 1013904223u;
        bytes[i] = (uint8_t)(state >> 24);
    }
}

/* Input of a client that does not speak the protocol. */
static void check_converse(struct testbed *bed) {
    static const char lines[] =
        "\r\n\r\n\n\nhello\r\nGET / HTTP/1.1\r\n\r\n/ping\n{\"a\":1}\nQUIT\r\n";
    static const uint8_t nothings[64] = {0};
    static uint8_t random[RANDOM_BYTES];
    static uint8_t line[LONG_LINE_BYTES];
    fill_random(random, sizeof(random));
    memset(line, 'x', sizeof(line));
    for (unsigned how = 0; how < LEAVE_COUNT; how++) {
        check_send_text(bed, lines, sizeof(lines) - 1, sizeof(lines), (enum leave)how);
        check_send_text(bed, lines, sizeof(lines) - 1, 1, (enum leave)how);
        check_send_text(bed, nothings, sizeof(nothings), 7, (enum leave)how);
        check_send_text(bed, random, sizeof(random), 97, (enum leave)how);
        check_send_text(bed, "", 0, 1, (enum leave)how);
    }
    check_send_text(bed, line, sizeof(line), 4096, LEAVE_FINISH);
}

/* Every possible first byte: many protocols dispatch on it. */
static void check_converse_bytes(struct testbed *bed) {
    for (unsigned first = 0; first < 256; first++) {
        const uint8_t bytes[] = {(uint8_t)first, '0', '\r', '\n'};
        check_visit(bed, bytes, sizeof(bytes), sizeof(bytes), LEAVE_FINISH);
    }
    testbed_advance(bed, AFTER_MS);
}

/* -- the checks ------------------------------------------------------------ */

/* Logs and tables print these strings unescaped. */
static const char *find_unprintable(const struct berth_plugin *plugin) {
    const struct {
        const char *name;
        const char *text;
    } texts[] = {
        {"name", plugin->name},
        {"version", plugin->version},
        {"vendor", plugin->vendor},
        {"licence", plugin->licence},
    };
    char safe[512];
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        if (texts[i].text &&
            strcmp(text_safe(safe, sizeof(safe), texts[i].text), texts[i].text) != 0) {
            return texts[i].name;
        }
    }
    return NULL;
}

static bool check_library(const char *file) {
    struct error error = {0};
    check_begin(CHECK_FILE);
    bool good = library_open(&run.library, file, &error);
    enum check reached = check_of_stage(run.library.stage);
    check_log_passed(reached);
    if (!good && reached == CHECK_ENTRY && run.library.found) {
        run.check = CHECK_ENTRY;
        check_result(RESULT_PASSED, "%s", "");
        reached = CHECK_DESCRIPTOR; /* called, but the descriptor is invalid */
    }
    run.check = reached;
    if (!good) {
        return check_result(RESULT_FAILED, "%s", error.message);
    }
    run.check = CHECK_ENTRY;
    struct berth_plugin first = *run.library.found;
    const struct berth_plugin *again = run.library.entry();
    bool pure = again == run.library.found && memcmp(&first, again, sizeof(first)) == 0;
    check_result(pure ? RESULT_PASSED : RESULT_FAILED, "%s",
                 pure ? ""
                      : "a second call of " BERTH_PLUGIN_ENTRY_NAME "() gives another descriptor");
    run.check = CHECK_DESCRIPTOR;
    const char *unprintable = find_unprintable(&first);
    if (unprintable) {
        return check_result(RESULT_FAILED, "its %s has control characters in it, or is not UTF-8",
                            unprintable);
    }
    if (first.magic == BERTH_PLUGIN_MAGIC_DRAFT && first.abi_draft == 0) {
        return check_result(RESULT_FAILED,
                            "it does not say for which draft of the ABI it was built: "
                            "set `abi_draft` to BERTH_ABI_DRAFT");
    }
    return check_result(RESULT_PASSED, "%s %s, ABI %u.%u", first.id, first.version, first.abi_major,
                        first.abi_minor_built);
}

static bool check_load(void) {
    char words[WORDS_BYTES];
    struct trial trial = {0};
    const struct testbed_options options = options_with(NULL);
    check_begin(CHECK_LOAD);
    struct testbed *bed = testbed_create(&run.library.plugin, &options);
    if (!bed) {
        return check_result(RESULT_FAILED, "out of memory");
    }
    int32_t status = testbed_load(bed, words, sizeof(words));
    trial_end(&trial, bed);
    if (status != BERTH_OK) {
        trial_note(&trial, "it refuses a host that has everything: %s (status %d)", words,
                   (int)status);
    }
    return trial_result(&trial, "");
}

static void check_listener_open(void) {
    char words[WORDS_BYTES] = "";
    struct trial trial = {0};
    struct error error = {0};
    const struct testbed_options options = options_with(NULL);
    check_begin(CHECK_LISTENER_OPEN);
    bool fits = library_check_config(&run.library, run.config ? run.config : "{}", &error);
    if (run.config_given && !fits) {
        check_result(RESULT_FAILED, "%s", error.message);
        return;
    }
    struct testbed *bed = testbed_create(&run.library.plugin, &options);
    if (!bed) {
        check_result(RESULT_FAILED, "out of memory");
        return;
    }
    bool opened = testbed_load(bed, words, sizeof(words)) == BERTH_OK &&
                  (!fits || testbed_check_config(bed, words, sizeof(words))) &&
                  testbed_open(bed, words, sizeof(words)) == BERTH_OK;
    trial_end(&trial, bed);
    run.openable = opened;
    if (opened || trial.wrong.size > 0) {
        trial_result(&trial, "");
    } else if (run.config_given) {
        check_result(RESULT_FAILED, "it refuses the config that was given: %s", words);
    } else {
        check_result(RESULT_SKIPPED, "it wants a config (%s): give one with --config", words);
    }
}

/* Any config must be either accepted or refused with a message. */
static void check_config(void) {
    static const char *const configs[] = {
        "{}",
        "{\"nonsense\": 1}",
        "{\"root\": 7, \"upstreams\": {}, \"greeting\": [[[[]]]]}",
        "{\"a\": \"\\u0000\\ud83d\\ude00\", \"b\": 1e308, \"c\": null}",
    };
    struct trial trial = {0};
    unsigned refused = 0;
    char words[80];
    check_begin(CHECK_CONFIG);
    for (size_t i = 0; i < ARRAY_COUNT(configs); i++) {
        const struct testbed_options options = options_with(configs[i]);
        struct testbed *bed = trial_begin(&trial, &run.library.plugin, &options);
        refused += bed ? 0 : 1;
        if (bed) {
            trial_end(&trial, bed);
        }
    }
    snprintf(words, sizeof(words), "%u of %zu strange ones refused, in words", refused,
             ARRAY_COUNT(configs));
    trial_result(&trial, words);
}

static bool skip_unless_openable(void) {
    return run.openable || check_result(RESULT_SKIPPED, "not checked: give --config");
}

/* Includes a whole conversation if the listener opens on such a host. */
static void check_host(enum check check, const struct testbed_options *options, const char *good) {
    struct trial trial = {0};
    check_begin(check);
    struct testbed *bed = trial_begin(&trial, &run.library.plugin, options);
    if (bed) {
        check_converse(bed);
        trial_end(&trial, bed);
    } else if (check == CHECK_LATER_HOST && run.openable) {
        trial_note(&trial, "it refuses a host of a later minor version, which serves all of 1.%d",
                   BERTH_ABI_MINOR);
    }
    trial_result(&trial, bed ? good : check == CHECK_LATER_HOST ? "" : "refused, in words");
}

static void check_hosts(void) {
    struct testbed_options later = options_with(NULL);
    later.abi_minor = 1;
    later.table_bytes_more = 64;
    check_host(CHECK_LATER_HOST, &later, "");
    struct testbed_options bare = options_with(NULL);
    bare.refuses = TESTBED_HAS_NO_EXTENSIONS;
    check_host(CHECK_NO_EXTENSIONS, &bare, "it does without");
}

enum { WAY_PLAIN, WAY_SLOW, WAY_UPSTREAM, WAY_WORKERS, WAY_IDLE, WAY_DATAGRAMS, WAYS };

static void check_conversation(void) {
    check_begin(CHECK_CONVERSATION);
    if (!skip_unless_openable()) {
        return;
    }
    struct trial trial = {0};
    for (unsigned way = 0; way < WAYS; way++) {
        struct testbed_options options = options_with(NULL);
        options.taken_at_a_time = way == WAY_SLOW ? 1024 : 0;
        options.queue_bytes = way == WAY_SLOW ? 4096 : 0;
        options.workers = way == WAY_WORKERS ? 3 : 1;
        options.idle_timeout_ms = way == WAY_IDLE ? IDLE_MS : 0;
        options.datagrams = way == WAY_DATAGRAMS;
        struct testbed *bed = trial_begin(&trial, &run.library.plugin, &options);
        if (bed) {
            testbed_upstream_expect(bed, way == WAY_UPSTREAM);
            check_converse(bed);
            trial_end(&trial, bed);
            bed = way == WAY_PLAIN ? trial_begin(&trial, &run.library.plugin, &options) : NULL;
        }
        if (bed && way == WAY_PLAIN) {
            check_converse_bytes(bed);
            trial_end(&trial, bed);
        }
    }
    trial_result(&trial, "");
}

static void check_busy(void) {
    struct trial trial = {0};
    struct testbed_options options = options_with(NULL);
    options.is_full = true;
    check_begin(CHECK_BUSY);
    if (!run.library.plugin.busy) {
        check_result(RESULT_SKIPPED, "it has no `busy`");
        return;
    }
    if (!skip_unless_openable()) {
        return;
    }
    struct testbed *bed = trial_begin(&trial, &run.library.plugin, &options);
    if (bed) {
        testbed_connect(bed);
        trial_end(&trial, bed);
    }
    trial_result(&trial, "");
}

/* Each resource that can run out, from the start and in the middle of a conversation. */
static void check_shortage(void) {
    static const uint32_t refusals[] = {
        TESTBED_REFUSES_BUFFERS,  TESTBED_REFUSES_WORK,  TESTBED_REFUSES_TIMERS,
        TESTBED_REFUSES_CONNECTS, TESTBED_REFUSES_FILES, TESTBED_REFUSES_POSTS,
        TESTBED_REFUSES_SENDS,
    };
    struct trial trial = {0};
    check_begin(CHECK_SHORTAGE);
    for (size_t i = 0; i < ARRAY_COUNT(refusals) * 2; i++) {
        struct testbed_options options = options_with(NULL);
        bool from_start = i % 2 == 0;
        options.refuses = from_start ? refusals[i / 2] : 0;
        struct testbed *bed = trial_begin(&trial, &run.library.plugin, &options);
        if (bed) {
            testbed_refuse(bed, refusals[i / 2]);
            check_converse(bed);
            trial_end(&trial, bed);
        }
    }
    trial_result(&trial, "buffers, work, timers, connects, files, posts and sends run out");
}

/* -- repeated and parallel loads ------------------------------------------- */

/* One cycle with a separate mapping of the library: open, use, close. */
static void check_cycle(struct trial *trial) {
    struct error error = {0};
    struct library library = {0};
    const struct testbed_options options = options_with(NULL);
    if (!library_open(&library, run.library.file, &error)) {
        trial_note(trial, "%s", error.message);
    } else {
        struct testbed *bed = trial_begin(trial, &library.plugin, &options);
        if (bed) {
            for (unsigned i = 0; i < CLIENTS_A_CYCLE; i++) {
                check_visit(bed, "hello\r\n", 7, 7, LEAVE_FINISH);
            }
            testbed_advance(bed, AFTER_MS);
            trial_end(trial, bed);
        }
    }
    if (!library_close(&library)) {
        trial_note(trial, "the library stays mapped after it was unloaded: a symbol that is "
                          "STB_GNU_UNIQUE (link with plugin-api/berth-plugin.map), a thread_local "
                          "with a destructor, or a thread that still runs; or set "
                          "BERTH_PLUGIN_NO_UNLOAD");
    }
    watchdog_step();
}

/* The growth of the process's memory and handles over CYCLES cycles. */
static void check_grow(struct trial *trial, size_t *bytes, unsigned *handles) {
    size_t bytes_before = os_process_memory_bytes();
    unsigned handles_before = os_process_handle_count();
    for (unsigned i = 0; i < CYCLES && trial->wrong.size == 0; i++) {
        check_cycle(trial);
    }
    size_t bytes_after = os_process_memory_bytes();
    unsigned handles_after = os_process_handle_count();
    *bytes = bytes_after > bytes_before ? bytes_after - bytes_before : 0;
    *handles = handles_after > handles_before ? handles_after - handles_before : 0;
}

static void check_load_cycles(void) {
    struct trial trial = {0};
    size_t bytes = 0;
    unsigned handles = 0;
    check_begin(CHECK_LOAD_CYCLES);
    if ((run.library.plugin.flags & BERTH_PLUGIN_NO_UNLOAD) != 0) {
        check_result(RESULT_SKIPPED, "it must not be unloaded, it says (BERTH_PLUGIN_NO_UNLOAD)");
        return;
    }
    for (unsigned i = 0; i < CYCLES_WARM_UP && trial.wrong.size == 0; i++) {
        check_cycle(&trial);
    }
    /* A leak shows in every round; growth of the allocator only in the first one or two. */
    for (unsigned i = 0;
         i < SERIES_MAX && (i == 0 || bytes > GROWTH_BYTES_MAX || handles > GROWTH_HANDLES_MAX);
         i++) {
        check_grow(&trial, &bytes, &handles);
    }
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    bytes = 0; /* a sanitizer keeps freed memory */
#endif
    if (bytes > GROWTH_BYTES_MAX) {
        trial_note(&trial,
                   "memory grew by %zu KiB in %d cycles, and did so before; of C++ on Windows "
                   "libstdc++ keeps about 70 KiB each time, unless the plugin includes "
                   "<berth/cpp_unload.hpp>",
                   bytes / 1024, CYCLES);
    }
    if (handles > GROWTH_HANDLES_MAX) {
        trial_note(&trial, "%u handles or descriptors more after %d cycles", handles, CYCLES);
    }
    trial_result(&trial, "100 of them, without growth");
}

static void check_generations(void) {
    struct error error = {0};
    struct library second = {0};
    struct trial trial = {0};
    const struct testbed_options options = options_with(NULL);
    char unique[128];
    check_begin(CHECK_GENERATIONS);
    if (symbols_find_unique(run.library.file, unique, sizeof(unique))) {
        trial_note(&trial,
                   "both would share %s, which is STB_GNU_UNIQUE: link with "
                   "-Wl,--version-script=plugin-api/berth-plugin.map, as pkg-config, Meson and "
                   "CMake do, or build with -fno-gnu-unique",
                   unique);
    }
    if (!library_open(&second, run.library.file, &error)) {
        trial_note(&trial, "the second one: %s", error.message);
    } else if (second.found == run.library.found) {
        trial_note(&trial, "the second generation has the statics of the first");
    }
    struct testbed *old = trial_begin(&trial, &run.library.plugin, &options);
    struct testbed *new = second.found ? trial_begin(&trial, &second.plugin, &options) : NULL;
    struct testbed_conn *conn = old ? testbed_connect(old) : NULL;
    if (new) {
        check_converse(new);
    }
    if (conn) {
        testbed_client_send(conn, "hello\r\n", 7);
    }
    if (old) {
        trial_end(&trial, old);
    }
    if (new) {
        check_send_text(new, "hello\r\n", 7, 1, LEAVE_FINISH);
        trial_end(&trial, new);
    }
    library_close(&second);
    trial_result(&trial, "");
}

/* -- all ------------------------------------------------------------------- */

static void check_all(const char *file) {
    if (!check_library(file) || !check_load()) {
        return;
    }
    check_listener_open();
    check_config();
    check_conversation();
    if (testbed_has_given_up()) {
        return; /* the other checks would take as long */
    }
    check_busy();
    check_hosts();
    check_shortage();
    check_load_cycles();
    check_generations();
}

/* With a short total time limit, the limit of one callback is half of it. */
static unsigned step_limit_ms(const struct command *command) {
    long limit_s = command->time_limit ? strtol(command->time_limit, NULL, 10) : 2L * STEP_LIMIT_S;
    return limit_s < 2L * STEP_LIMIT_S ? (unsigned)limit_s * 500 : STEP_LIMIT_S * 1000u;
}

int checks_run(const struct command *command) {
    struct error error = {0};
    const char done[] = {CHECKS_MARK, CHECKS_DONE, '\n'};
    run.config_given = command->config != NULL;
    os_process_end_with_parent();
    if (!os_process_keep_output(&error)) {
        text_print_error(error.message);
        return EXIT_FAILED;
    }
    if (!tool_config_read(command->config, &run.config, run.folder, sizeof(run.folder), &error) ||
        !watchdog_start(step_limit_ms(command), check_crash_report, &error)) {
        check_begin(CHECK_FILE);
        check_result(RESULT_FAILED, "%s", error.message);
        return EXIT_FAILED;
    }
    check_all(command->words[0]);
    library_close(&run.library);
    watchdog_stop();
    alloc_free(run.config);
    os_process_write(done, sizeof(done));
    return EXIT_FINE;
}
