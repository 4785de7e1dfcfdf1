/* main.c: the command line: picks the verb. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "base/macros.h"
#include "berth/abi.h"
#include "control/control.h"
#include "os/os.h"

static const char help_text[] =
    "berth " BERTH_VERSION ": a server that hosts protocol plugins\n"
    "\n"
    "usage:\n"
    "  berth run [--manifest FILE] [--ready-file FILE] [--plugins DIR]\n"
    "      Serves what the manifest says until Ctrl-C or SIGTERM.\n"
    "  berth check [FILE] [--plugins DIR]\n"
    "      Checks a manifest and its plugins: says ok, or lists everything that is wrong.\n"
    "  berth plugins [--plugins DIR]\n"
    "      Lists the plugins in the folder: id, version, ABI, loadable or why not.\n"
    "  berth help, berth --version\n"
    "\n"
    "  --manifest FILE    default: config/berth.json beside the executable\n"
    "  --ready-file FILE  written when every listener accepts: the actual addresses, as JSON\n"
    "  --plugins DIR      instead of the manifest's host.plugins\n"
    "\n"
    "exit codes: 0 fine, 1 failure, 2 usage, 78 invalid manifest\n";

struct verb {
    const char *name;
    int (*function)(const struct control_options *options);
    const char *options[4]; /* those it takes, up to a NULL */
    bool takes_file;        /* one word without an option: the manifest */
};

static const struct verb verbs[] = {
    {"run", control_run, {"--manifest", "--ready-file", "--plugins"}, false},
    {"check", control_check, {"--plugins"}, true},
    {"plugins", control_plugins, {"--plugins"}, false},
};

static int usage_error(const char *what, const char *word) {
    fprintf(stderr, "berth: %s \"%s\"; see \"berth help\"\n", what, word);
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

static const char **option_value(struct control_options *options, const char *option) {
    if (strcmp(option, "--manifest") == 0) {
        return &options->manifest;
    }
    return strcmp(option, "--ready-file") == 0 ? &options->ready_file : &options->plugins;
}

/* Reads the words behind the verb. EXIT_FINE, or EXIT_USAGE after a message. */
static int parse(const struct verb *verb, int argc, char **argv, struct control_options *options) {
    for (int i = 0; i < argc; i++) {
        const char **value = NULL;
        if (argv[i][0] != '-') {
            if (!verb->takes_file || options->manifest) {
                return usage_error("unexpected word", argv[i]);
            }
            options->manifest = argv[i];
            continue;
        }
        if (!verb_takes(verb, argv[i])) {
            return usage_error("unknown option", argv[i]);
        }
        value = option_value(options, argv[i]);
        if (*value) {
            return usage_error("given twice: option", argv[i]);
        }
        if (i + 1 == argc || argv[i + 1][0] == '\0') {
            return usage_error("a value is missing behind", argv[i]);
        }
        *value = argv[++i];
    }
    return EXIT_FINE;
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
    for (size_t i = 0; i < ARRAY_COUNT(verbs); i++) {
        if (strcmp(word, verbs[i].name) == 0) {
            struct control_options options = {0};
            int code = parse(&verbs[i], argc - 2, argv + 2, &options);
            return code == EXIT_FINE ? verbs[i].function(&options) : code;
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
    long left = alloc_live() - before;
    if (left != 0) {
        log_warn(NULL,
                 "%ld blocks of memory were not given back: a plugin has kept buffers or files, or "
                 "there is a defect in the host",
                 left);
    }
    return code;
}
