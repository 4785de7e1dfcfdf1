/* console.h: what differs between the systems' terminals and command lines. */
#ifndef BERTH_PLUGINS_POP3_USER_CONSOLE_H
#define BERTH_PLUGINS_POP3_USER_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>

/* The arguments as UTF-8; those of main() where that is what they are. Not freed. */
char **console_arguments(int *count, char **arguments);

/* Reads a line from standard input, without its end; what is typed on a terminal is not shown.
 * False: there is none, or it is too long. */
bool console_read_secret(const char *prompt, char *line, size_t capacity);

#endif
