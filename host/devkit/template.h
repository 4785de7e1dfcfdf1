/* template.h: the files that `plugin new` writes, with placeholders. Static. */
#ifndef BERTH_HOST_DEVKIT_TEMPLATE_H
#define BERTH_HOST_DEVKIT_TEMPLATE_H

extern const char template_c[]; /* a source */
extern const char template_cpp[];
extern const char template_rust[];
extern const char template_cargo[];
extern const char template_readme_rust[];
extern const char template_meson[];
extern const char template_meson_options[];
extern const char template_readme[];
extern const char template_transcript[];

#endif
