#include "plugin/descriptor.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "os/os.h"

/* The last field of ABI 1.0: later minors add fields after it, and plugins of 1.0 keep this
 * size. */
#define BYTES_1_0 (offsetof(struct berth_plugin, worker_end) + sizeof(void *))

enum {
    KNOWN_FLAGS = BERTH_PLUGIN_SPEAKS_FIRST | BERTH_PLUGIN_NO_UNLOAD | BERTH_PLUGIN_PACES_ITSELF |
                  BERTH_PLUGIN_EXCLUSIVE
};

static bool is_magic(uint32_t magic) {
    return magic == BERTH_PLUGIN_MAGIC_DRAFT || magic == BERTH_PLUGIN_MAGIC_RELEASED;
}

/* The draft that a candidate was built for. Draft 1 had a 0 where `abi_draft` is now, and so has a
 * source that leaves the field out. A descriptor with the size of this draft was built with its
 * headers.
 * */
static unsigned draft_of(const struct berth_plugin *found) {
    if (found->abi_draft > 0) {
        return found->abi_draft;
    }
    return found->struct_size >= BYTES_1_0 ? BERTH_ABI_DRAFT : 1;
}

static const char *name_draft(const struct berth_plugin *found, char *text, size_t size) {
    if (found->magic == BERTH_PLUGIN_MAGIC_RELEASED) {
        return "the released version";
    }
    snprintf(text, size, "draft %u", draft_of(found));
    return text;
}

bool descriptor_check_draft(const struct berth_plugin *found, unsigned host_draft,
                            struct error *error) {
    char text[32];
    char host[32] = "the released version";
    bool is_released = found->magic == BERTH_PLUGIN_MAGIC_RELEASED;
    if (is_released && found->abi_draft != 0) {
        return error_set(error,
                         "its descriptor contradicts itself: it has the magic of the released ABI, "
                         "and is of draft %u",
                         found->abi_draft);
    }
    if (is_released ? host_draft == 0 : host_draft > 0 && draft_of(found) == host_draft) {
        return true;
    }
    if (host_draft > 0) {
        snprintf(host, sizeof(host), "draft %u", host_draft);
    }
    bool is_newer =
        host_draft > 0 && (is_released || (draft_of(found) > 1 && draft_of(found) > host_draft));
    return error_set(error,
                     "it was built for %s of ABI %u.%u and this host serves %s of it, and a draft "
                     "loads on a host of that very draft only: %s",
                     name_draft(found, text, sizeof(text)), found->abi_major,
                     found->abi_minor_built, host,
                     is_newer ? "use a newer host, or build it against this host's plugin-api"
                              : "build it against this host's plugin-api");
}

static bool check_prefix(const struct berth_plugin *found, struct error *error) {
    if (!is_magic(found->magic)) {
        return error_set(error,
                         "its descriptor begins with 0x%08x and not with the magic 0x%08x: not a "
                         "Berth plugin",
                         (unsigned)found->magic, (unsigned)BERTH_PLUGIN_MAGIC);
    }
    if (found->abi_major != BERTH_ABI_MAJOR) {
        return error_set(error,
                         "it was built for ABI %u.%u and this host serves ABI %d.%d: build it "
                         "against this host's plugin-api",
                         found->abi_major, found->abi_minor_built, BERTH_ABI_MAJOR,
                         BERTH_ABI_MINOR);
    }
    if (!descriptor_check_draft(found, BERTH_ABI_DRAFT, error)) {
        return false;
    }
    if (found->abi_minor_required > found->abi_minor_built) {
        return error_set(error,
                         "its descriptor contradicts itself: built for minor %u, requires minor %u",
                         found->abi_minor_built, found->abi_minor_required);
    }
    if (found->abi_minor_required > BERTH_ABI_MINOR) {
        return error_set(
            error, "it requires ABI %u.%u and this host serves ABI %d.%d: use a newer host",
            found->abi_major, found->abi_minor_required, BERTH_ABI_MAJOR, BERTH_ABI_MINOR);
    }
    if (found->struct_size < BYTES_1_0) {
        return error_set(error,
                         "its descriptor is truncated: struct_size is %u, ABI %d.0 has %zu bytes",
                         (unsigned)found->struct_size, BERTH_ABI_MAJOR, BYTES_1_0);
    }
    return true;
}

static bool check_text(const char *text, const char *member, struct error *error) {
    return (text && text[0] != '\0') ||
           error_set(error, "its descriptor has no %s, which is required", member);
}

static bool check_members(const struct berth_plugin *copy, const char *id, struct error *error) {
    if (!check_text(copy->id, "id", error) || !check_text(copy->name, "name", error) ||
        !check_text(copy->version, "version", error)) {
        return false;
    }
    if (strcmp(copy->id, id) != 0) {
        return error_set(error,
                         "its descriptor's id is \"%.63s\", but the file's name says \"%s\": they "
                         "must be the same",
                         copy->id, id);
    }
    if (copy->handover) {
        return error_set(error, "its `handover` is set, which this host does not know: set NULL");
    }
    if ((copy->flags & ~(uint32_t)KNOWN_FLAGS) != 0) {
        return error_set(error, "its flags 0x%x have bits that this host does not know",
                         (unsigned)copy->flags);
    }
    if (copy->conn_state_size > DESCRIPTOR_STATE_BYTES_MAX) {
        return error_set(error, "its conn_state_size is %u; at most %u bytes are allowed",
                         (unsigned)copy->conn_state_size, DESCRIPTOR_STATE_BYTES_MAX);
    }
    if (!copy->received && !copy->datagram) {
        return error_set(error, "its operations `received` and `datagram` are both NULL: one of "
                                "them is required");
    }
    return true;
}

bool descriptor_read(const struct berth_plugin *found, const char *id, struct berth_plugin *copy,
                     struct error *error) {
    if (!found) {
        return error_set(error, "its " BERTH_PLUGIN_ENTRY_NAME "() returned NULL");
    }
    if (!check_prefix(found, error)) {
        return false;
    }
    size_t size = found->struct_size < sizeof(*copy) ? found->struct_size : sizeof(*copy);
    memset(copy, 0, sizeof(*copy));
    memcpy(copy, found, size);
    return check_members(copy, id, error);
}

bool descriptor_load(const char *path, const char *id, struct os_library **library,
                     struct berth_plugin *copy, struct error *error) {
    *library = os_library_open(path, error);
    if (!*library) {
        return error_prefix(error, "the system cannot load it: ");
    }
    void *symbol = os_library_symbol(*library, BERTH_PLUGIN_ENTRY_NAME);
    if (!symbol) {
        return error_set(error, "it exports no " BERTH_PLUGIN_ENTRY_NAME "(): not a Berth plugin");
    }
    berth_plugin_entry_fn entry;
    _Static_assert(sizeof(entry) == sizeof(symbol), "a symbol's address is a function's");
    memcpy(&entry, &symbol, sizeof(entry));
    return descriptor_read(entry(), id, copy, error);
}
