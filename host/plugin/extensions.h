/* extensions.h: the services that plugins ask for by name.
 *
 * Threads: any. */
#ifndef BERTH_HOST_PLUGIN_EXTENSIONS_H
#define BERTH_HOST_PLUGIN_EXTENSIONS_H

/* berth_host.query(): a const struct of the host's, or NULL; so it is for NULL. */
const void *extensions_find(const char *id);

#endif
