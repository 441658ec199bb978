/* Preloaded into a Python process: tells a watcher of every call that changes a file below one
 * folder, before (phase 0) and after (phase 1) it. Nothing else changes. See disk_watch.py.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { WRITE, SYNC, TRUNCATE, RENAME, UNLINK, CREATE, LINK };

typedef void (*watcher_t)(int operation, int phase, const char *path, const char *to,
                          long long offset, long long length, const void *data);

static watcher_t watcher;
static char folder[PATH_MAX];
static size_t folder_length;
static __thread int inside; /* the watcher's own calls are not watched */

void dobmi_watch(watcher_t new_watcher, const char *below) {
    snprintf(folder, sizeof folder, "%s/", below);
    folder_length = strlen(folder);
    watcher = new_watcher;
}

static int path_watched(const char *path) {
    if (!watcher || inside || !path) return 0;
    return strncmp(path, folder, folder_length) == 0
        || (strlen(path) == folder_length - 1 && strncmp(path, folder, folder_length - 1) == 0);
}

static int fd_watched(int fd, char *path) {
    char link[64];
    ssize_t length;
    if (!watcher || inside) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, PATH_MAX - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return path_watched(path);
}

static void tell(int operation, int phase, const char *path, const char *to, long long offset,
                 long long length, const void *data) {
    inside = 1;
    watcher(operation, phase, path, to, offset, length, data);
    inside = 0;
}

#define REAL(name) ({ static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name); real; })

/* Each wrapper has the signature that the C library documents for its name. */
#define ON_FD(operation, offset, length, data, call)                      \
    char path[PATH_MAX];                                                  \
    int watched = fd_watched(fd, path);                                   \
    long long at = watched ? (offset) : 0;                                \
    if (watched) tell(operation, 0, path, 0, at, length, data);           \
    __typeof__(call) result = call;                                       \
    if (watched && result >= 0) tell(operation, 1, path, 0, at, length, data); \
    return result;

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    ON_FD(WRITE, offset, size, data, REAL(pwrite)(fd, data, size, offset))
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
    ON_FD(WRITE, offset, size, data, REAL(pwrite64)(fd, data, size, offset))
}
ssize_t write(int fd, const void *data, size_t size) {
    ON_FD(WRITE, lseek(fd, 0, SEEK_CUR), size, data, REAL(write)(fd, data, size))
}
int fsync(int fd) { ON_FD(SYNC, 0, 0, 0, REAL(fsync)(fd)) }
int fdatasync(int fd) { ON_FD(SYNC, 0, 0, 0, REAL(fdatasync)(fd)) }
int ftruncate(int fd, off_t size) { ON_FD(TRUNCATE, size, 0, 0, REAL(ftruncate)(fd, size)) }
int ftruncate64(int fd, off64_t size) { ON_FD(TRUNCATE, size, 0, 0, REAL(ftruncate64)(fd, size)) }

int rename(const char *from, const char *to) {
    int watched = path_watched(from) || path_watched(to);
    if (watched) tell(RENAME, 0, from, to, 0, 0, 0);
    int result = REAL(rename)(from, to);
    if (watched && result == 0) tell(RENAME, 1, from, to, 0, 0, 0);
    return result;
}
int link(const char *from, const char *to) {
    int watched = path_watched(from) || path_watched(to);
    if (watched) tell(LINK, 0, from, to, 0, 0, 0);
    int result = REAL(link)(from, to);
    if (watched && result == 0) tell(LINK, 1, from, to, 0, 0, 0);
    return result;
}
int unlink(const char *path) {
    int watched = path_watched(path);
    if (watched) tell(UNLINK, 0, path, 0, 0, 0, 0);
    int result = REAL(unlink)(path);
    if (watched && result == 0) tell(UNLINK, 1, path, 0, 0, 0, 0);
    return result;
}

/* A file that comes into being, so that a power cut may take it away again. */
#define OPENING(name, ...)                                                               \
    mode_t mode = 0;                                                                     \
    if (flags & (O_CREAT | __O_TMPFILE)) {                                               \
        __builtin_va_list list;                                                          \
        __builtin_va_start(list, flags);                                                 \
        mode = __builtin_va_arg(list, mode_t);                                           \
        __builtin_va_end(list);                                                          \
    }                                                                                    \
    int creates = (flags & O_CREAT) && path_watched(path) && access(path, F_OK) != 0;    \
    if (creates) tell(CREATE, 0, path, 0, 0, 0, 0);                                      \
    int result = REAL(name)(path, flags, mode);                                          \
    if (creates && result >= 0) tell(CREATE, 1, path, 0, 0, 0, 0);                       \
    return result;

int open(const char *path, int flags, ...) { OPENING(open) }
int open64(const char *path, int flags, ...) { OPENING(open64) }
