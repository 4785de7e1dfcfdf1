#include "control/find.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/macros.h"
#include "control/control.h"
#include "control/paths.h"
#include "engine/engine.h"
#include "os/os.h"

enum { ASK_MS = 2000, NAMES_MAX = 16, OTHERS_MAX = 8, NAME_SIZE = 64 };

/* Names under which the host may be found: those in the manifest, as far as it can be read. */
struct names {
    char items[NAMES_MAX][NAME_SIZE];
    size_t count;
};

struct search {
    struct found_host *found;
    size_t others; /* hosts that serve another manifest, as far as they are reported */
    bool denied;   /* a host was found that is not to be trusted */
};

/* -- the message when there is no host ------------------------------------- */

static void find_say(struct found_host *found, const char *format, ...) BERTH_PRINTF(2, 3);
static void find_say(struct found_host *found, const char *format, ...) {
    size_t used = strlen(found->why);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(found->why + used, sizeof(found->why) - used, format, arguments);
    va_end(arguments);
}

static void say_other(struct search *search, const char *name, const struct identity *other) {
    char mark[NAME_SIZE + 8];
    snprintf(mark, sizeof(mark), "--name %s", name);
    if (strstr(search->found->why, mark) || search->others == OTHERS_MAX) {
        return;
    }
    search->others++;
    if (other) {
        find_say(search->found, "; \"%s\" (process %llu) serves %s: \"--name %s\" speaks to it",
                 name, (unsigned long long)other->pid, other->manifest, name);
    } else {
        find_say(search->found,
                 "; \"%s\" does not say what it serves: \"--name %s\" speaks to it all the same",
                 name, name);
    }
}

/* -- names in a manifest --------------------------------------------------- */

static void find_add_name(struct names *names, const char *name) {
    for (size_t i = 0; i < names->count; i++) {
        if (strcmp(names->items[i], name) == 0) {
            return;
        }
    }
    if (names->count < NAMES_MAX && manifest_name_valid(name)) {
        snprintf(names->items[names->count++], NAME_SIZE, "%s", name);
    }
}

/* Every "name": "…" of a text that is not a manifest, and perhaps not JSON. A host that is found
 * by one of them must confirm that it serves the manifest. */
static void scan_names(const char *path, struct names *names) {
    static const char key[] = "\"name\"";
    char *text;
    size_t size;
    if (!os_file_read(path, MANIFEST_BYTES_MAX, &text, &size, NULL)) {
        return;
    }
    for (const char *at = strstr(text, key); at; at = strstr(at, key)) {
        char name[NAME_SIZE] = "";
        at += sizeof(key) - 1;
        at += strspn(at, " \t\r\n:");
        size_t length = *at == '"' ? strcspn(at + 1, "\"\r\n") : 0;
        if (length > 0 && length < sizeof(name)) {
            memcpy(name, at + 1, length);
            find_add_name(names, name);
        }
    }
    alloc_free(text);
}

static void find_read_names(struct found_host *found, struct names *names, bool *controlled) {
    struct manifest *manifest = manifest_load(found->path, &found->broken);
    *controlled = !manifest || manifest->host.control;
    if (manifest) {
        find_add_name(names, manifest->host.name);
        manifest_errors_fini(&found->broken);
    } else {
        scan_names(found->path, names);
        find_add_name(names, "berth");
    }
    manifest_destroy(manifest);
}

/* -- search ---------------------------------------------------------------- */

static int ask_ms(const struct found_host *found) {
    uint64_t now_ms = engine_now_ms();
    uint64_t left_ms = now_ms < found->by_ms ? found->by_ms - now_ms : 0;
    return left_ms < ASK_MS ? (int)left_ms : ASK_MS;
}

/* Whether this host is the one. If so, the pipe is the caller's, else it is closed. */
static bool find_examine(struct search *search, struct os_pipe *pipe, const char *name) {
    struct found_host *found = search->found;
    struct identity identity = {0};
    bool known = identity_ask(pipe, ask_ms(found), &identity);
    if (known && identity_serves(&identity, found->path)) {
        found->pipe = pipe;
        found->identity = identity;
        return true;
    }
    os_pipe_close(pipe);
    if (known || name) {
        say_other(search, known ? identity.name : name, known ? &identity : NULL);
    }
    return false;
}

static bool find_visit(void *context, struct os_pipe *pipe) {
    struct search *search = context;
    return !find_examine(search, pipe, NULL) && ask_ms(search->found) > 0;
}

/* Tries to connect to the host of that name. */
static bool look_by_name(struct search *search, const char *name) {
    struct error error = {0};
    struct os_pipe *pipe = os_pipe_connect(name, &error);
    if (!pipe) {
        find_say(search->found, "; \"%s\": %s", name, error.message);
        search->denied = search->denied || error.kind == ERROR_KIND_DENIED;
    }
    return pipe && find_examine(search, pipe, name);
}

static void find_by_manifest(struct found_host *found) {
    struct search search = {.found = found};
    struct names names = {0};
    bool controlled;
    find_read_names(found, &names, &controlled);
    find_say(found, "no host that serves %s can be spoken to", found->path);
    for (size_t i = 0; i < names.count; i++) {
        if (look_by_name(&search, names.items[i])) {
            return;
        }
    }
    os_pipe_visit(find_visit, &search);
    if (!found->pipe) {
        found->code = found->broken.count > 0 ? EXIT_MANIFEST : EXIT_FAILED;
        find_say(found, "%s%s",
                 controlled ? ""
                            : "; its \"host.control\" is false: such a host cannot be spoken to",
                 search.others == 0 ? "; \"--name\" gives the name of a host" : "");
    }
}

static void find_by_name(struct found_host *found, const char *name) {
    struct error error = {0};
    found->pipe = os_pipe_connect(name, &error);
    if (!found->pipe) {
        found->code = EXIT_FAILED;
        find_say(found, "no host called \"%s\" can be spoken to: %s; \"--name\" gives another name",
                 name, error.message);
    } else if (!identity_ask(found->pipe, ask_ms(found), &found->identity)) {
        found->identity = (struct identity){0};
    }
}

/* Both --name and --manifest are given: the host of that name has to serve the manifest. */
static void check_manifest(struct found_host *found, const char *name) {
    if (found->pipe && !identity_serves(&found->identity, found->path)) {
        os_pipe_close(found->pipe);
        found->pipe = NULL;
        found->code = EXIT_FAILED;
        find_say(found, "the host called \"%s\" serves %s, and not %s", name,
                 found->identity.pid != 0 ? found->identity.manifest : "what it does not say",
                 found->path);
    }
}

void find_host(const struct command *options, uint64_t by_ms, struct found_host *found) {
    struct error error = {0};
    *found = (struct found_host){.by_ms = by_ms, .code = EXIT_FINE};
    if (options->name && !manifest_name_valid(options->name)) {
        found->code = EXIT_USAGE;
        find_say(
            found,
            "\"%.100s\" is no name of a host: a letter or digit, then up to 62 letters, digits and "
            ". _ -",
            options->name);
        return;
    }
    if (!paths_manifest(found->path, sizeof(found->path), options->manifest, &error)) {
        found->code = EXIT_FAILED;
        find_say(found, "%s", error.message);
        return;
    }
    if (options->name) {
        find_by_name(found, options->name);
        if (options->manifest) {
            check_manifest(found, options->name);
        }
    } else if (options->manifest || os_file_exists(found->path)) {
        find_by_manifest(found);
    } else {
        find_by_name(found, "berth");
    }
    if (found->pipe) {
        manifest_errors_fini(&found->broken);
        found->code = EXIT_FINE;
    }
}

void found_host_fini(struct found_host *found) {
    os_pipe_close(found->pipe);
    found->pipe = NULL;
    manifest_errors_fini(&found->broken);
}
