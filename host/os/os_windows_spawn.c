/* os_windows_spawn.c: processes that inherit the given handles, and no others.
 *
 * With bInheritHandles alone a child inherits every inheritable handle of the process: those that a
 * plugin or a library has made inheritable, and those that another thread makes inheritable for its
 * own child at that moment. A socket among them stays open for as long as the child lives, and its
 * peer gets no FIN. A handle list (PROC_THREAD_ATTRIBUTE_HANDLE_LIST) restricts it. */
#include <windows.h>

#include "base/alloc.h"
#include "base/macros.h"
#include "os/os_windows.h"

enum { HANDLES_MAX = 8 };

/* Lists the valid handles, once each: the system refuses a list with invalid or repeated ones. */
static size_t make_inheritable(HANDLE *list, void *const *handles, size_t count) {
    size_t kept = 0;
    for (size_t i = 0; i < count && kept < HANDLES_MAX; i++) {
        HANDLE handle = handles[i];
        bool known = !handle || handle == INVALID_HANDLE_VALUE;
        for (size_t k = 0; k < kept && !known; k++) {
            known = list[k] == handle;
        }
        if (!known && SetHandleInformation(handle, HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT)) {
            list[kept++] = handle;
        }
    }
    return kept;
}

enum { ATTRIBUTES = 2 };

/* `job` must outlive the list: the system reads it when the process is made. */
static LPPROC_THREAD_ATTRIBUTE_LIST make_attributes(HANDLE *list, size_t count, HANDLE *job) {
    SIZE_T size = 0;
    InitializeProcThreadAttributeList(NULL, ATTRIBUTES, 0, &size);
    LPPROC_THREAD_ATTRIBUTE_LIST attributes = alloc_zeroed(size);
    if (!attributes) {
        SetLastError(ERROR_NOT_ENOUGH_MEMORY);
        return NULL;
    }
    if (!InitializeProcThreadAttributeList(attributes, ATTRIBUTES, 0, &size)) {
        alloc_free(attributes);
        return NULL;
    }
    if (UpdateProcThreadAttribute(attributes, 0, PROC_THREAD_ATTRIBUTE_HANDLE_LIST, list,
                                  count * sizeof(*list), NULL, NULL)) {
        if (*job) { /* from its first moment on, where the system supports this: Windows 10 */
            UpdateProcThreadAttribute(attributes, 0, PROC_THREAD_ATTRIBUTE_JOB_LIST, job,
                                      sizeof(*job), NULL, NULL);
        }
        return attributes;
    }
    DWORD code = GetLastError();
    DeleteProcThreadAttributeList(attributes);
    alloc_free(attributes);
    SetLastError(code);
    return NULL;
}

/* The process has not begun to run. A system that lets no process be in two jobs (before Windows 8)
 * may refuse; then the process runs without the job. */
static void put_into_job(const PROCESS_INFORMATION *process, HANDLE job) {
    BOOL inside = FALSE;
    if (!IsProcessInJob(process->hProcess, job, &inside) || !inside) {
        AssignProcessToJobObject(job, process->hProcess);
    }
    ResumeThread(process->hThread);
}

bool windows_process_start(const wchar_t *program, wchar_t *command, unsigned long flags,
                           const struct windows_standard *standard, struct windows_process *made) {
    HANDLE list[HANDLES_MAX];
    STARTUPINFOEXW startup = {.StartupInfo = {.cb = sizeof(startup),
                                              .dwFlags = STARTF_USESTDHANDLES,
                                              .hStdInput = standard->input,
                                              .hStdOutput = standard->output,
                                              .hStdError = standard->error}};
    void *const handles[] = {standard->input, standard->output, standard->error, standard->more[0],
                             standard->more[1]};
    PROCESS_INFORMATION process;
    HANDLE job = standard->job;
    size_t count = make_inheritable(list, handles, ARRAY_COUNT(handles));
    flags |= job ? CREATE_SUSPENDED : 0;
    if (count > 0) {
        startup.lpAttributeList = make_attributes(list, count, &job);
        if (!startup.lpAttributeList) {
            return false;
        }
    }
    BOOL started = CreateProcessW(program, command, NULL, NULL, count > 0,
                                  flags | (count > 0 ? EXTENDED_STARTUPINFO_PRESENT : 0), NULL,
                                  NULL, &startup.StartupInfo, &process);
    DWORD code = GetLastError();
    if (startup.lpAttributeList) {
        DeleteProcThreadAttributeList(startup.lpAttributeList);
        alloc_free(startup.lpAttributeList);
    }
    if (!started) {
        SetLastError(code);
        return false;
    }
    if (job) {
        put_into_job(&process, job);
    }
    CloseHandle(process.hThread);
    *made = (struct windows_process){process.hProcess, process.dwProcessId};
    return true;
}
