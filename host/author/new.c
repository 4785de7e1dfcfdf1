/* The verb `plugin new`: a folder with a plugin that builds, is valid, and has a transcript. */
#include <stdio.h>
#include <string.h>

#include "author/author.h"
#include "author/bytes.h"
#include "author/template.h"
#include "base/error.h"
#include "base/macros.h"
#include "base/text.h"
#include "module/module.h"
#include "os/os.h"

struct places {
    const char *id;
    const char *lang; /* the ending of the source, and Meson's name */
    const char *compiler;
    const char *standard; /* further options of the Meson project */
    char api[OS_PATH_MAX];
};

/* The template with its places filled in. */
static bool fill(struct bytes *text, const char *template, const struct places *places) {
    const struct {
        const char *mark;
        const char *value;
    } marks[] = {
        {"@ID@", places->id},        {"@LANG@", places->lang}, {"@CC@", places->compiler},
        {"@STD@", places->standard}, {"@API@", places->api},
    };
    while (*template) {
        size_t i = 0;
        while (i < ARRAY_COUNT(marks) &&
               strncmp(template, marks[i].mark, strlen(marks[i].mark)) != 0) {
            i++;
        }
        bool mark = i < ARRAY_COUNT(marks);
        if (mark ? !bytes_add_text(text, marks[i].value) : !bytes_add(text, template, 1)) {
            return false;
        }
        template += mark ? strlen(marks[i].mark) : 1;
    }
    return true;
}

static bool write_file(const char *folder, const char *name, const char *template,
                       const struct places *places, struct error *error) {
    char path[OS_PATH_MAX];
    struct bytes text = {0};
    bool good = fill(&text, template, places);
    if (!good) {
        error_set(error, "out of memory");
    } else if (!os_path_join(path, sizeof(path), folder, name)) {
        good = error_set(error, "the path is too long: %s", folder);
    } else {
        good = os_file_write_atomic(path, (const char *)text.data, text.size, error) ||
               error_prefix(error, "writing %s: ", path);
    }
    bytes_free(&text);
    return good;
}

static bool make_folder(const char *path, struct error *error) {
    return os_folder_create(path, error) || error_prefix(error, "making the folder %s: ", path);
}

/* What is half made is made undone. */
static void remove_all(const char *id, const char *transcripts, const char *source) {
    const char *const names[] = {source, "meson.build", "meson_options.txt", "README.md",
                                 "transcripts/first.txt"};
    char path[OS_PATH_MAX];
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        if (os_path_join(path, sizeof(path), id, names[i])) {
            os_file_remove(path);
        }
    }
    os_folder_remove(transcripts);
    os_folder_remove(id);
}

static bool write_all(const struct places *places, struct error *error) {
    char transcripts[MODULE_ID_MAX + 16];
    char source[MODULE_ID_MAX + 8];
    const char *id = places->id;
    bool c = strcmp(places->lang, "c") == 0;
    snprintf(transcripts, sizeof(transcripts), "%s/transcripts", id);
    snprintf(source, sizeof(source), "%s.%s", id, places->lang);
    if (!make_folder(id, error)) {
        return false;
    }
    bool good = make_folder(transcripts, error) &&
                write_file(id, source, c ? template_c : template_cpp, places, error) &&
                write_file(id, "meson.build", template_meson, places, error) &&
                write_file(id, "meson_options.txt", template_meson_options, places, error) &&
                write_file(id, "README.md", template_readme, places, error) &&
                write_file(transcripts, "first.txt", template_transcript, places, error);
    if (!good) {
        remove_all(id, transcripts, source);
    }
    return good;
}

/* Names that are no files on Windows, whatever stands behind a dot. */
static bool is_reserved(const char *id) {
    static const char *const names[] = {"con", "prn", "aux", "nul"};
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        if (strcmp(id, names[i]) == 0) {
            return true;
        }
    }
    return (strncmp(id, "com", 3) == 0 || strncmp(id, "lpt", 3) == 0) && id[3] >= '0' &&
           id[3] <= '9' && id[4] == '\0';
}

/* With slashes, which every compiler takes and no string has to escape. */
static bool find_api(struct places *places, struct error *error) {
    char folder[OS_PATH_MAX];
    if (!os_executable_folder(folder, sizeof(folder), error)) {
        return error_prefix(error, "finding the executable's folder: ");
    }
    if (!os_path_join(places->api, sizeof(places->api), folder, "plugin-api")) {
        return error_set(error, "the path is too long: %s", folder);
    }
    for (char *at = places->api; *at; at++) {
        *at = *at == '\\' ? '/' : *at;
    }
    return true;
}

int author_new(const struct command *command) {
    struct error error = {0};
    struct places places = {.lang = command->lang ? command->lang : "c"};
    bool c = strcmp(places.lang, "c") == 0;
    if (!c && strcmp(places.lang, "cpp") != 0) {
        return command_refuse(COMMAND_PLUGIN_NEW, "--lang is c or cpp");
    }
    places.id = command->words[0];
    places.compiler = c ? "gcc" : "g++";
    places.standard = c ? "" : ", 'cpp_std=c++17'";
    if (!module_id_valid(places.id)) {
        error_set(&error, "\"%s\" is not a plugin's id: 1 to %d of a-z, 0-9 and -", places.id,
                  MODULE_ID_MAX);
    } else if (is_reserved(places.id)) {
        error_set(&error, "\"%s\" is a device of Windows, and no file there is called so",
                  places.id);
    } else if (find_api(&places, &error) && write_all(&places, &error)) {
        printf("%s/ has a plugin, its build, and a first transcript; %s/README.md tells how to "
               "build and try it\n",
               places.id, places.id);
        return EXIT_FINE;
    }
    text_print_error(error.message);
    return EXIT_FAILED;
}
