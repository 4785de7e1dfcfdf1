/* console.h: what differs between the systems' terminals and command lines. */
#ifndef BERTH_PLUGINS_POP3_USER_CONSOLE_H
#define BERTH_PLUGINS_POP3_USER_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>

/* The arguments as UTF-8; main()'s own if they are UTF-8. Not freed. */
char **console_arguments(int *count, char **arguments);

/* Reads a line from standard input, without its end; a terminal does not echo it. False: no line,
 * or too long. */
bool console_read_secret(const char *prompt, char *line, size_t capacity);

#endif
