/* pattern.h: regular expressions of a schema's "pattern", matched in linear time.
 *
 * The language is the part of ECMA-262's (with the flag "u") that needs no backtracking:
 *
 *     characters  .  [a-z]  [^a-z]  \d \D \w \W \s \S  \t \n \r \f \v  \xHH  \uHHHH
 *     \ before punctuation  (…)  (?:…)  |  ?  *  +  {n}  {n,}  {n,m}  ^  $
 *
 * Back references, lookarounds, lazy quantifiers, \b, \p and named groups are refused by name. The
 * time of a match is at most the length of the text times the length of the program, which has
 * PATTERN_PROGRAM_MAX instructions at most.
 *
 * Owner: the caller of pattern_create(). Threads: one at a time. */
#ifndef BERTH_HOST_MANIFEST_PATTERN_H
#define BERTH_HOST_MANIFEST_PATTERN_H

#include <stdbool.h>

struct error;
struct pattern;

#define PATTERN_PROGRAM_MAX 512

/* NULL: the error says what is not valid, and at which character. */
struct pattern *pattern_create(const char *text, struct error *error);
void pattern_destroy(struct pattern *pattern); /* NULL is legal */

/* Whether it matches anywhere in the text, which is UTF-8. */
bool pattern_matches(struct pattern *pattern, const char *text);

#endif
