/* author.h: the verbs for those who write plugins; main.c picks them.
 *
 * Each takes the words behind the verb and returns the exit code of the program. Threads: the main
 * thread. */
#ifndef BERTH_HOST_AUTHOR_AUTHOR_H
#define BERTH_HOST_AUTHOR_AUTHOR_H

/* `berth plugin test|validate|new …` */
int author_plugin(int argc, char **argv);

/* `berth record …` */
int author_record(int argc, char **argv);

#endif
