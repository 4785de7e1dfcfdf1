/* os_windows_trust.c: who can change a file whose code this process is to run.
 *
 * Only processes check this that have more rights than the users of the machine: elevated ones, and
 * those of session 0, where services are. Others are not restricted: below a drive's root the
 * system itself lets every user change what is there, and a program unpacked there by its user
 * would not load its own plugins.
 *
 * The file and its folder are checked, by open handles: the owner, and each entry of the access
 * list that allows writing. Trusted are the system, Administrators, the installer of Windows and
 * the process's own user; a denying entry is not counted against an allowing one. Folders further
 * up are not checked, for the reason above: only rules of the machine distinguish an account that
 * may rename one of them from others. */
#include <windows.h>

#include <aclapi.h>
#include <sddl.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/macros.h"
#include "os/os_private.h"
#include "os/os_windows.h"
#include "os/os_windows_private.h"

#define WRITES_FILE                                                                                \
    (FILE_WRITE_DATA | FILE_APPEND_DATA | DELETE | WRITE_DAC | WRITE_OWNER | GENERIC_WRITE |       \
     GENERIC_ALL)
/* Adding a file replaces none, and the user that adds a file owns it. */
#define WRITES_FOLDER                                                                              \
    (FILE_DELETE_CHILD | DELETE | WRITE_DAC | WRITE_OWNER | GENERIC_WRITE | GENERIC_ALL)

bool windows_user_read(union windows_user *user) {
    HANDLE token = NULL;
    DWORD size = 0;
    if (!OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &token)) {
        return false;
    }
    bool known = GetTokenInformation(token, TokenUser, user, sizeof(*user), &size);
    CloseHandle(token);
    return known;
}

static bool has_more_rights_than_users(void) {
    HANDLE token = NULL;
    TOKEN_ELEVATION elevation = {0};
    DWORD session = 1;
    DWORD size = 0;
    bool elevated =
        OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &token) &&
        GetTokenInformation(token, TokenElevation, &elevation, sizeof(elevation), &size) &&
        elevation.TokenIsElevated != 0;
    if (token) {
        CloseHandle(token);
    }
    return elevated || (ProcessIdToSessionId(GetCurrentProcessId(), &session) && session == 0);
}

static bool is_trusted_account(PSID sid, const union windows_user *user) {
    /* CREATOR OWNER and OWNER RIGHTS stand for the owner, which is checked. */
    static const WELL_KNOWN_SID_TYPE known[] = {WinLocalSystemSid, WinBuiltinAdministratorsSid,
                                                WinCreatorOwnerSid, WinCreatorOwnerRightsSid};
    static const wchar_t installer[] =
        L"S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464";
    wchar_t *text = NULL;
    for (size_t i = 0; i < ARRAY_COUNT(known); i++) {
        if (IsWellKnownSid(sid, known[i])) {
            return true;
        }
    }
    bool trusted = EqualSid(sid, user->user.User.Sid) ||
                   (ConvertSidToStringSidW(sid, &text) && wcscmp(text, installer) == 0);
    LocalFree(text);
    return trusted;
}

/* "BUILTIN\Users", or the SID of an account that has no name any more. */
static void name_account(PSID sid, char *text, size_t size) {
    wchar_t name[256];
    wchar_t domain[256];
    wchar_t both[520];
    DWORD name_size = ARRAY_COUNT(name);
    DWORD domain_size = ARRAY_COUNT(domain);
    SID_NAME_USE use;
    wchar_t *number = NULL;
    snprintf(text, size, "another account");
    if (LookupAccountSidW(NULL, sid, name, &name_size, domain, &domain_size, &use)) {
        _snwprintf(both, ARRAY_COUNT(both), L"%ls%ls%ls", domain, domain[0] ? L"\\" : L"", name);
        both[ARRAY_COUNT(both) - 1] = L'\0';
        windows_text(both, text, size);
    } else if (ConvertSidToStringSidW(sid, &number)) {
        windows_text(number, text, size);
        LocalFree(number);
    }
}

static bool check_list(ACL *list, ACCESS_MASK writes, const char *path,
                       const union windows_user *user, struct error *error) {
    char account[512];
    if (!list) {
        return error_set(error, "%s has no access list, so that every user can write it", path);
    }
    for (DWORD i = 0; i < list->AceCount; i++) {
        ACCESS_ALLOWED_ACE *entry = NULL;
        if (!GetAce(list, i, (void **)&entry) || entry->Header.AceType != ACCESS_ALLOWED_ACE_TYPE ||
            (entry->Header.AceFlags & INHERIT_ONLY_ACE) != 0 || (entry->Mask & writes) == 0 ||
            is_trusted_account(&entry->SidStart, user)) {
            continue;
        }
        name_account(&entry->SidStart, account, sizeof(account));
        return error_set(error, "%s can be written by %.200s: take that right away with icacls",
                         path, account);
    }
    return true;
}

static bool check_handle(HANDLE handle, ACCESS_MASK writes, const char *path, struct error *error) {
    PSECURITY_DESCRIPTOR descriptor = NULL;
    PSID owner = NULL;
    ACL *list = NULL;
    char account[512];
    union windows_user user;
    DWORD code = GetSecurityInfo(handle, SE_FILE_OBJECT,
                                 OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION, &owner,
                                 NULL, &list, NULL, &descriptor);
    if (code != ERROR_SUCCESS || !windows_user_read(&user)) {
        windows_error_set(error, code != ERROR_SUCCESS ? code : GetLastError());
        LocalFree(descriptor);
        return error_prefix(error, "%s: its access list: ", path);
    }
    bool good = true;
    if (!is_trusted_account(owner, &user)) {
        name_account(owner, account, sizeof(account));
        good = error_set(error,
                         "%s belongs to %.200s, who does not administer this machine: give it to "
                         "Administrators with icacls /setowner",
                         path, account);
    }
    good = good && check_list(list, writes, path, &user, error);
    LocalFree(descriptor);
    return good;
}

static bool windows_trust_check_folder(const char *path, struct error *error) {
    char folder[OS_PATH_MAX];
    wchar_t wide[WINDOWS_PATH_MAX];
    if (!os_path_folder(folder, sizeof(folder), path) ||
        !windows_path(folder, wide, ARRAY_COUNT(wide), error)) {
        return error_prefix(error, "%s: ", path);
    }
    HANDLE handle =
        CreateFileW(wide, READ_CONTROL, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                    NULL, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL);
    if (handle == INVALID_HANDLE_VALUE) {
        windows_error_set(error, GetLastError());
        return error_prefix(error, "%s: ", folder);
    }
    bool good = check_handle(handle, WRITES_FOLDER, folder, error);
    CloseHandle(handle);
    return good;
}

bool os_file_is_trusted(const struct os_file *file, const char *path, struct error *error) {
    return !has_more_rights_than_users() ||
           (check_handle((HANDLE)file->handle, WRITES_FILE, path, error) &&
            windows_trust_check_folder(path, error));
}
