/* extensions.h: the services that plugins query by name.
 *
 * Threads: any. */
#ifndef BERTH_HOST_PLUGIN_EXTENSIONS_H
#define BERTH_HOST_PLUGIN_EXTENSIONS_H

/* berth_host.query(): a const struct of the host, or NULL if the name is not known or NULL. */
const void *extensions_find(const char *id);

#endif
