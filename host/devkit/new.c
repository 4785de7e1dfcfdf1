/* The verb `plugin new`: creates a folder with a plugin that builds, passes validation, and has a
 * transcript. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/macros.h"
#include "base/text.h"
#include "devkit/bytes.h"
#include "devkit/devkit.h"
#include "devkit/template.h"
#include "os/os.h"
#include "plugin/module.h"

enum { FILES_MAX = 8 };

struct new_file {
    const char *name; /* with placeholders; relative to the plugin's folder */
    const char *template;
};

static const struct language {
    const char *name;     /* the value of --lang */
    const char *ending;   /* of the source file; also Meson's name of the language */
    const char *compiler; /* in the README */
    const char *standard; /* further options of the Meson project */
    struct new_file files[FILES_MAX];
} LANGUAGES[] = {
    {"c",
     "c",
     "gcc",
     "",
     {{"@ID@.c", template_c},
      {"meson.build", template_meson},
      {"meson_options.txt", template_meson_options},
      {"README.md", template_readme}}},
    {"cpp",
     "cpp",
     "g++",
     ", 'cpp_std=c++17'",
     {{"@ID@.cpp", template_cpp},
      {"meson.build", template_meson},
      {"meson_options.txt", template_meson_options},
      {"README.md", template_readme}}},
    {"rust",
     "rs",
     "rustc",
     "",
     {{"@ID@.rs", template_rust},
      {"Cargo.toml", template_cargo},
      {"README.md", template_readme_rust}}},
};

static const char TRANSCRIPT[] = "transcripts/first.txt";

struct places {
    const char *id;
    const struct language *language;
    char api[OS_PATH_MAX];
};

/* The template with its placeholders filled in. */
static bool new_fill(struct bytes *text, const char *template, const struct places *places) {
    const struct {
        const char *mark;
        const char *value;
    } marks[] = {
        {"@ID@", places->id},
        {"@LANG@", places->language->ending},
        {"@CC@", places->language->compiler},
        {"@STD@", places->language->standard},
        {"@API@", places->api},
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

/* The path of a file in the plugin's folder. */
static bool file_path(char *path, const char *name, const struct places *places,
                      struct error *error) {
    struct bytes filled = {0};
    bool good = new_fill(&filled, name, places) && bytes_add(&filled, "", 1);
    if (!good) {
        error_set(error, "out of memory");
    } else if (!os_path_join(path, OS_PATH_MAX, places->id, (const char *)filled.data)) {
        good = error_set(error, "the path is too long: %s", places->id);
    }
    bytes_free(&filled);
    return good;
}

static bool new_write_file(const struct new_file *file, const struct places *places,
                           struct error *error) {
    char path[OS_PATH_MAX];
    struct bytes text = {0};
    if (!file_path(path, file->name, places, error)) {
        return false;
    }
    bool good = new_fill(&text, file->template, places);
    if (!good) {
        error_set(error, "out of memory");
    } else {
        good = os_file_write_atomic(path, (const char *)text.data, text.size, error) ||
               error_prefix(error, "writing %s: ", path);
    }
    bytes_free(&text);
    return good;
}

static bool new_make_folder(const char *path, struct error *error) {
    return os_folder_create(path, error) || error_prefix(error, "making the folder %s: ", path);
}

static void new_remove_file(const char *name, const struct places *places) {
    struct error ignored = {0};
    char path[OS_PATH_MAX];
    if (file_path(path, name, places, &ignored)) {
        os_file_remove(path);
    }
}

/* Removes what was created before a failure. */
static void remove_all(const struct places *places, const char *transcripts) {
    for (const struct new_file *file = places->language->files; file->name; file++) {
        new_remove_file(file->name, places);
    }
    new_remove_file(TRANSCRIPT, places);
    os_folder_remove(transcripts);
    os_folder_remove(places->id);
}

static bool new_write_all(const struct places *places, struct error *error) {
    const struct new_file transcript = {TRANSCRIPT, template_transcript};
    char transcripts[MODULE_ID_MAX + 16];
    snprintf(transcripts, sizeof(transcripts), "%s/transcripts", places->id);
    if (!new_make_folder(places->id, error)) {
        return false;
    }
    bool good = new_make_folder(transcripts, error) && new_write_file(&transcript, places, error);
    for (const struct new_file *file = places->language->files; good && file->name; file++) {
        good = new_write_file(file, places, error);
    }
    if (!good) {
        remove_all(places, transcripts);
    }
    return good;
}

/* Names reserved on Windows, with any extension. */
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

/* With slashes, which every compiler accepts and which need no escaping in strings. */
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
    struct places places = {.id = command->words[0]};
    for (size_t i = 0; i < ARRAY_COUNT(LANGUAGES); i++) {
        if (strcmp(command->lang ? command->lang : "c", LANGUAGES[i].name) == 0) {
            places.language = &LANGUAGES[i];
        }
    }
    if (!places.language) {
        return command_refuse(COMMAND_PLUGIN_NEW, "--lang is c, cpp or rust");
    }
    if (!module_id_valid(places.id)) {
        error_set(&error, "\"%s\" is not a plugin's id: 1 to %d of a-z, 0-9 and -", places.id,
                  MODULE_ID_MAX);
    } else if (is_reserved(places.id)) {
        error_set(&error, "\"%s\" is a device of Windows, and no file there is called so",
                  places.id);
    } else if (find_api(&places, &error) && new_write_all(&places, &error)) {
        printf("%s/ has a plugin, its build, and a first transcript; %s/README.md tells how to "
               "build and try it\n",
               places.id, places.id);
        return EXIT_FINE;
    }
    text_print_error(error.message);
    return EXIT_FAILED;
}
