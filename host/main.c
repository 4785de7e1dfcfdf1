/* main.c: the command line: picks the verb. */
#include <stdio.h>
#include <string.h>

#include "author/author.h"
#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "base/macros.h"
#include "base/text.h"
#include "berth/abi.h"
#include "control/control.h"
#include "module/trial.h"
#include "os/log_writer.h"
#include "os/os.h"

static const char help_text[] =
    "berth " BERTH_VERSION ": a server that hosts protocol plugins\n"
    "\n"
    "usage:\n"
    "  berth run [--manifest FILE] [--ready-file FILE] [--plugins DIR] [--watch]\n"
    "            [--supervise]\n"
    "      Serves what the manifest says until Ctrl-C or SIGTERM. SIGHUP reloads; --watch does so\n"
    "      whenever the manifest or a plugin's file has changed. --supervise starts it again when\n"
    "      it crashes, without a client being refused, and leaves out a plugin that does it again\n"
    "      and again.\n"
    "  berth check [FILE] [--plugins DIR]\n"
    "      Checks a manifest and its plugins: says ok, or lists everything that is wrong.\n"
    "  berth plugins [--plugins DIR]\n"
    "      Lists the plugins of the host that runs; without one, or with --plugins, those in the\n"
    "      folder: id, version, ABI, loadable or why not.\n"
    "\n"
    "  berth status | listeners\n"
    "      What the host that runs is doing.\n"
    "  berth pause | resume NAME... | --all\n"
    "      New clients of these listeners, or of these plugins' listeners, wait; or come in "
    "again.\n"
    "  berth restart NAME... | --all\n"
    "      Loads the plugins of these listeners anew, and no client notices.\n"
    "  berth reload [--dry-run]\n"
    "      Serves what the manifest says now. --dry-run tells whether that could be done: it\n"
    "      checks the manifest and the plugins' files, and tries neither addresses nor `load`.\n"
    "  berth release NAME... | --all\n"
    "      Lets plugins in again that were left out because of their crashes.\n"
    "  berth stop [--now]\n"
    "      Stops the host: connections may finish until host.drain_timeout_ms, or are cut now.\n"
    "\n"
    "  berth plugin new NAME [--lang c|cpp]\n"
    "      Makes the folder NAME: a plugin that builds, is valid, and has a transcript.\n"
    "  berth plugin validate FILE [--config FILE|JSON] [--json] [--time-limit SECONDS]\n"
    "      Tries a plugin in a process of its own: what it breaks, and where.\n"
    "  berth plugin fuzz FILE [--transcripts FILE...] [--seconds N] [--seed S] [--config ...]\n"
    "      Conversations by chance with a plugin, until a rule is broken; default: 10 seconds.\n"
    "  berth plugin test FILE TRANSCRIPT... [--config FILE|JSON] [--json]\n"
    "      Plays recorded conversations to a plugin, under every way the bytes could arrive.\n"
    "  berth record ADDRESS --out FILE [--listen ADDRESS]\n"
    "      Writes one connection to the listener at ADDRESS down as a transcript.\n"
    "  berth help, berth --version\n"
    "\n"
    "  --manifest FILE    default: config/berth.json beside the executable\n"
    "  --ready-file FILE  written when every listener accepts: the actual addresses, as JSON\n"
    "  --plugins DIR      instead of the manifest's host.plugins\n"
    "  NAME               a listener, or a plugin for all of its listeners; where it is both:\n"
    "                     listener:NAME or plugin:NAME\n"
    "  --name NAME        the host of that name; without it, the one that serves the manifest\n"
    "  --timeout SECONDS  how long the host may take to answer, or to stop; default: 30\n"
    "  --json             the host's answer as it comes\n"
    "\n"
    "exit codes: 0 fine, 1 failure, 2 usage, 78 invalid manifest\n";

enum words { NO_WORDS, A_FILE, NAMES };

struct verb {
    const char *name;
    int (*function)(const struct control_options *options);
    const char *options[9]; /* those it takes, up to a NULL */
    enum words words;
};

static const struct verb verbs[] = {
    {"run",
     control_run,
     {"--manifest", "--ready-file", "--plugins", "--watch", "--supervise", "--supervised", "--kept",
      "--use-kept"},
     NO_WORDS},
    {"check", control_check, {"--plugins"}, A_FILE},
    {"plugins",
     control_plugins,
     {"--plugins", "--name", "--manifest", "--timeout", "--json"},
     NO_WORDS},
    {"status", control_status, {"--name", "--manifest", "--timeout", "--json"}, NO_WORDS},
    {"listeners", control_listeners, {"--name", "--manifest", "--timeout", "--json"}, NO_WORDS},
    {"pause", control_pause, {"--name", "--manifest", "--timeout", "--json", "--all"}, NAMES},
    {"resume", control_resume, {"--name", "--manifest", "--timeout", "--json", "--all"}, NAMES},
    {"restart", control_restart, {"--name", "--manifest", "--timeout", "--json", "--all"}, NAMES},
    {"reload",
     control_reload,
     {"--name", "--manifest", "--timeout", "--json", "--dry-run"},
     NO_WORDS},
    {"release", control_release, {"--name", "--manifest", "--timeout", "--json", "--all"}, NAMES},
    {"stop", control_stop, {"--name", "--manifest", "--timeout", "--json", "--now"}, NO_WORDS},
};

static int usage_error(const char *what, const char *word) {
    fprintf(stderr, "berth: %s \"", what);
    text_print(stderr, word);
    fputs("\"; see \"berth help\"\n", stderr);
    return EXIT_USAGE;
}

static bool verb_takes(const struct verb *verb, const char *option) {
    for (size_t i = 0; i < ARRAY_COUNT(verb->options) && verb->options[i]; i++) {
        if (strcmp(verb->options[i], option) == 0) {
            return true;
        }
    }
    return false;
}

/* Where the value of an option goes; NULL: it has none, and *flag is where it is noted. */
static const char **option_value(struct control_options *options, const char *option, bool **flag) {
    const struct {
        const char *option;
        const char **value;
        bool *flag;
    } all[] = {
        {"--manifest", &options->manifest, NULL},
        {"--ready-file", &options->ready_file, NULL},
        {"--plugins", &options->plugins, NULL},
        {"--name", &options->name, NULL},
        {"--timeout", &options->timeout, NULL},
        {"--all", NULL, &options->all},
        {"--dry-run", NULL, &options->dry_run},
        {"--json", NULL, &options->json},
        {"--now", NULL, &options->now},
        {"--watch", NULL, &options->watch},
        {"--supervise", NULL, &options->supervise},
        {"--supervised", &options->supervised, NULL}, /* the parent's, and told to nobody */
        {"--kept", &options->kept, NULL},
        {"--use-kept", NULL, &options->use_kept},
    };
    size_t i = 0;
    while (strcmp(all[i].option, option) != 0) {
        i++; /* the tables of verbs have no others */
    }
    *flag = all[i].flag;
    return all[i].value;
}

/* A word without an option. */
static int take_word(const struct verb *verb, char *word, struct control_options *options) {
    if (verb->words == NAMES && options->word_count < CONTROL_WORDS_MAX) {
        options->words[options->word_count++] = word;
        return EXIT_FINE;
    }
    if (verb->words != A_FILE || options->manifest) {
        return usage_error("unexpected word", word);
    }
    options->manifest = word;
    return EXIT_FINE;
}

/* Reads the words behind the verb. EXIT_FINE, or EXIT_USAGE after a message. */
static int parse(const struct verb *verb, int argc, char **argv, struct control_options *options) {
    int code = EXIT_FINE;
    for (int i = 0; i < argc && code == EXIT_FINE; i++) {
        bool *flag = NULL;
        if (argv[i][0] != '-') {
            code = take_word(verb, argv[i], options);
            continue;
        }
        if (!verb_takes(verb, argv[i])) {
            return usage_error("unknown option", argv[i]);
        }
        const char **value = option_value(options, argv[i], &flag);
        if (value ? *value != NULL : *flag) {
            return usage_error("given twice: option", argv[i]);
        }
        if (!value) {
            *flag = true;
        } else if (i + 1 == argc || argv[i + 1][0] == '\0') {
            return usage_error("a value is missing behind", argv[i]);
        } else {
            *value = argv[++i];
        }
    }
    return code;
}

/* `run` waits for the signals that ask it to stop; the others end by them. */
static int run_function(const struct verb *verb, const struct control_options *options) {
    int code;
    if (verb->function != control_run) {
        os_signals_leave();
    } else if (!options->supervised && os_init_process(&code)) {
        return code;
    }
    return verb->function(options);
}

static int run_verb(int argc, char **argv) {
    const char *word = argv[1];
    if (strcmp(word, "help") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        fputs(help_text, stdout);
        return EXIT_FINE;
    }
    if (strcmp(word, "--version") == 0) {
        printf("berth %s (plugin ABI %d.%d%s)\n", BERTH_VERSION, BERTH_ABI_MAJOR, BERTH_ABI_MINOR,
               BERTH_ABI_RC ? ", release candidate" : "");
        return EXIT_FINE;
    }
    if (strcmp(word, "plugin") == 0) {
        os_signals_leave();
        return author_plugin(argc - 2, argv + 2);
    }
    if (strcmp(word, TRIAL_VERB) == 0 && argc == 4) {
        os_signals_leave();
        trial_take(argv[2], argv[3]);
    }
    if (strcmp(word, "record") == 0) {
        return author_record(argc - 2, argv + 2);
    }
    for (size_t i = 0; i < ARRAY_COUNT(verbs); i++) {
        if (strcmp(word, verbs[i].name) == 0) {
            struct control_options options = {0};
            int code = parse(&verbs[i], argc - 2, argv + 2, &options);
            return code == EXIT_FINE ? run_function(&verbs[i], &options) : code;
        }
    }
    return usage_error("unknown verb", word);
}

int main(int argc, char **argv) {
    struct error error = {0};
    if (!os_start(&argc, &argv, &error)) {
        fprintf(stderr, "berth: %s\n", error.message);
        return EXIT_FAILED;
    }
    if (argc < 2) {
        fputs(help_text, stderr);
        return EXIT_USAGE;
    }
    long before = alloc_live();
    int code = run_verb(argc, argv);
    log_writer_stop();
    long left = alloc_live() - before;
    if (left != 0) {
        log_warn(NULL,
                 "%ld blocks of memory were not given back: a plugin has kept buffers or files, or "
                 "there is a defect in the host",
                 left);
    }
    return code;
}
