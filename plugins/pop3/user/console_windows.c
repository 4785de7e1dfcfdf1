#include <windows.h>

#include <fcntl.h>
#include <io.h>
#include <shellapi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "console.h"

static char *console_narrow(const wchar_t *wide) {
    int size = WideCharToMultiByte(CP_UTF8, 0, wide, -1, NULL, 0, NULL, NULL);
    char *text = malloc((size_t)size + 1);
    if (text) {
        WideCharToMultiByte(CP_UTF8, 0, wide, -1, text, size, NULL, NULL);
    }
    return text;
}

char **console_arguments(int *count, char **arguments) {
    wchar_t **wide = CommandLineToArgvW(GetCommandLineW(), count);
    char **texts = wide ? calloc((size_t)*count + 1, sizeof(*texts)) : NULL;
    for (int i = 0; texts && i < *count; i++) {
        texts[i] = console_narrow(wide[i]);
    }
    _setmode(_fileno(stdout), _O_BINARY); /* the users file has the same bytes on every system */
    return texts ? texts : arguments;
}

/* Reads wide characters from a terminal, and bytes from anything else. */
static bool read_terminal(HANDLE input, char *line, size_t capacity) {
    wchar_t wide[256];
    DWORD size = 0;
    if (!ReadConsoleW(input, wide, 255, &size, NULL) || size < 1) {
        return false;
    }
    wide[size] = L'\0';
    size_t length = wcscspn(wide, L"\r\n");
    bool whole = length < size;
    wide[length] = L'\0';
    return whole && WideCharToMultiByte(CP_UTF8, 0, wide, -1, line, (int)capacity, NULL, NULL) > 0;
}

bool console_read_secret(const char *prompt, char *line, size_t capacity) {
    HANDLE input = GetStdHandle(STD_INPUT_HANDLE);
    DWORD shown;
    if (GetConsoleMode(input, &shown)) {
        SetConsoleMode(input, shown & ~(DWORD)ENABLE_ECHO_INPUT);
        fputs(prompt, stderr);
        bool found = read_terminal(input, line, capacity);
        SetConsoleMode(input, shown);
        fputs("\n", stderr);
        return found;
    }
    bool found = fgets(line, (int)capacity, stdin) != NULL;
    size_t size = found ? strcspn(line, "\r\n") : 0;
    found = found && (line[size] != '\0' || feof(stdin));
    line[size] = '\0';
    return found;
}
