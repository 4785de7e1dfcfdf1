/* template.h: the files that `plugin new` writes, with places to fill in. Static. */
#ifndef BERTH_HOST_AUTHOR_TEMPLATE_H
#define BERTH_HOST_AUTHOR_TEMPLATE_H

extern const char template_body[]; /* of a source in C or C++, up to the descriptor */
extern const char template_end_c[];
extern const char template_end_cpp[];
extern const char template_meson[];
extern const char template_meson_options[];
extern const char template_readme[];
extern const char template_transcript[];

#endif
