#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "console.h"

char **console_arguments(int *count, char **arguments) {
    (void)count;
    return arguments;
}

bool console_read_secret(const char *prompt, char *line, size_t capacity) {
    struct termios shown;
    bool terminal = tcgetattr(STDIN_FILENO, &shown) == 0;
    if (terminal) {
        struct termios hidden = shown;
        hidden.c_lflag &= ~(tcflag_t)ECHO;
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
        fputs(prompt, stderr);
    }
    bool found = fgets(line, (int)capacity, stdin) != NULL;
    if (terminal) {
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown);
        fputs("\n", stderr);
    }
    size_t size = found ? strcspn(line, "\r\n") : 0;
    found = found && (line[size] != '\0' || feof(stdin));
    line[size] = '\0';
    return found;
}
