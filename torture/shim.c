/* Counts the calls of a process that change the file system under one folder, and kills the process, or fails the
   call, at a chosen one. Loaded with LD_PRELOAD; programs that the process starts count on, since what they share
   lies in a mapped file. torture/server.py writes the fields and reads the counter. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NOTHING, KILL, FAIL_ONCE, FAIL_FROM_HERE_ON };

struct state {
    long counter; /* changes so far */
    long trap;    /* the change at which something happens */
    int action;
    int error;    /* errno of a call that fails */
    int armed;
    int reached;  /* the trap was met */
    char root[1024];
    char log[1024]; /* every change is written down here; empty: nowhere */
};

static struct state *state;

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("TORTURE_STATE");
    int file = name ? syscall(SYS_openat, AT_FDCWD, name, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *found = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    syscall(SYS_close, file);
    if (found != MAP_FAILED) state = found;
}

static int absolute(int folder, const char *path, char *full) {
    char link[64];
    if (path[0] == '/') {
        snprintf(full, PATH_MAX, "%s", path);
        return 1;
    }
    if (folder == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
    else snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    ssize_t length = readlink(link, full, PATH_MAX / 2);
    if (length < 0) return 0;
    snprintf(full + length, PATH_MAX - length, "%s%s", path[0] ? "/" : "", path);
    return 1;
}

static void die(void) {
    syscall(SYS_kill, 0, SIGKILL);
    for (;;) pause();
}

/* Count a change. Returns 0: go on; otherwise the errno to fail with; -1: this is the write to be torn. */
static int change(const char *call, int folder, const char *path, int takes_space) {
    char full[PATH_MAX];
    if (!state || !state->armed || !path || !absolute(folder, path, full)) return 0;
    size_t length = strlen(state->root);
    if (strncmp(full, state->root, length) || full[length] != '/') return 0;
    long number = __sync_add_and_fetch(&state->counter, 1);
    if (state->log[0]) {
        char line[PATH_MAX + 64];
        int size = snprintf(line, sizeof line, "%ld %s %s\n", number, call, full + length + 1);
        int file = syscall(SYS_openat, AT_FDCWD, state->log, O_WRONLY | O_APPEND | O_CREAT, 0600);
        if (syscall(SYS_write, file, line, size) < 0) abort();
        syscall(SYS_close, file);
    }
    if (number < state->trap || state->action == NOTHING) return 0;
    if (state->action == FAIL_FROM_HERE_ON) {
        if (!takes_space) return 0;
        state->reached = 1;
        return state->error;
    }
    if (number != state->trap) return 0;
    state->reached = 1;
    if (state->action == FAIL_ONCE) return state->error;
    if (!strcmp(call, "write")) return -1;
    die();
    return 0;
}

static int change_of(const char *call, int file, int takes_space) {
    int before = errno;
    int said = state && state->armed ? change(call, file, "", takes_space) : 0;
    if (!said) errno = before;
    return said;
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)
#define STOP_IF(said, value) \
    do { int error_ = (said); if (error_ > 0) { errno = error_; return value; } } while (0)

static int writes(int flags) {
    return (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC));
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(int, name, const char *, int, ...); \
        va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest); \
        if (writes(flags)) STOP_IF(change("open", AT_FDCWD, path, flags & O_CREAT), -1); \
        return real(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        REAL(int, name, int, const char *, int, ...); \
        va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest); \
        if (writes(flags)) STOP_IF(change("open", folder, path, flags & O_CREAT), -1); \
        return real(folder, path, flags, mode); \
    }
OPENAT(openat)
OPENAT(openat64)

#define FOPEN(name) \
    FILE *name(const char *path, const char *mode) { \
        REAL(FILE *, name, const char *, const char *); \
        if (strpbrk(mode, "wa+")) STOP_IF(change("open", AT_FDCWD, path, mode[0] != 'r'), NULL); \
        return real(path, mode); \
    }
FOPEN(fopen)
FOPEN(fopen64)

ssize_t write(int file, const void *bytes, size_t count) {
    REAL(ssize_t, write, int, const void *, size_t);
    int said = change_of("write", file, 1);
    STOP_IF(said, -1);
    if (said < 0) {
        real(file, bytes, count / 2);
        die();
    }
    return real(file, bytes, count);
}

#define PWRITE(name) \
    ssize_t name(int file, const void *bytes, size_t count, off_t at) { \
        REAL(ssize_t, name, int, const void *, size_t, off_t); \
        int said = change_of("write", file, 1); \
        STOP_IF(said, -1); \
        if (said < 0) { \
            real(file, bytes, count / 2, at); \
            die(); \
        } \
        return real(file, bytes, count, at); \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

ssize_t writev(int file, const struct iovec *parts, int count) {
    REAL(ssize_t, writev, int, const struct iovec *, int);
    int said = change_of("write", file, 1);
    STOP_IF(said, -1);
    if (said < 0) {
        real(file, parts, count / 2);
        die();
    }
    return real(file, parts, count);
}

ssize_t sendfile(int to, int from, off_t *at, size_t count) {
    REAL(ssize_t, sendfile, int, int, off_t *, size_t);
    STOP_IF(change_of("sendfile", to, 1), -1);
    return real(to, from, at, count);
}
ssize_t sendfile64(int to, int from, off_t *at, size_t count) { return sendfile(to, from, at, count); }

ssize_t copy_file_range(int from, off_t *from_at, int to, off_t *to_at, size_t count, unsigned flags) {
    REAL(ssize_t, copy_file_range, int, off_t *, int, off_t *, size_t, unsigned);
    STOP_IF(change_of("copy_file_range", to, 1), -1);
    return real(from, from_at, to, to_at, count, flags);
}

#define ON_FILE(name, space, types, arguments) \
    int name types { \
        REAL(int, name, int); \
        STOP_IF(change_of(#name, file, space), -1); \
        return ((int (*) types)real) arguments; \
    }
ON_FILE(ftruncate, 1, (int file, off_t size), (file, size))
ON_FILE(ftruncate64, 1, (int file, off_t size), (file, size))
ON_FILE(fsync, 0, (int file), (file))
ON_FILE(fdatasync, 0, (int file), (file))

#define ON_PATH(name, space, folder, types, arguments) \
    int name types { \
        REAL(int, name, void); \
        STOP_IF(change(#name, folder, path, space), -1); \
        return ((int (*) types)real) arguments; \
    }
ON_PATH(truncate, 0, AT_FDCWD, (const char *path, off_t size), (path, size))
ON_PATH(truncate64, 0, AT_FDCWD, (const char *path, off_t size), (path, size))
ON_PATH(creat, 1, AT_FDCWD, (const char *path, mode_t mode), (path, mode))
ON_PATH(creat64, 1, AT_FDCWD, (const char *path, mode_t mode), (path, mode))
ON_PATH(unlink, 0, AT_FDCWD, (const char *path), (path))
ON_PATH(unlinkat, 0, at, (int at, const char *path, int flags), (at, path, flags))
ON_PATH(rmdir, 0, AT_FDCWD, (const char *path), (path))
ON_PATH(mkdir, 1, AT_FDCWD, (const char *path, mode_t mode), (path, mode))
ON_PATH(mkdirat, 1, at, (int at, const char *path, mode_t mode), (at, path, mode))
ON_PATH(rename, 0, AT_FDCWD, (const char *from, const char *path), (from, path))
ON_PATH(renameat, 0, at, (int old, const char *from, int at, const char *path), (old, from, at, path))
ON_PATH(renameat2, 0, at, (int old, const char *from, int at, const char *path, unsigned flags),
        (old, from, at, path, flags))
ON_PATH(link, 1, AT_FDCWD, (const char *from, const char *path), (from, path))
ON_PATH(linkat, 1, at, (int old, const char *from, int at, const char *path, int flags), (old, from, at, path, flags))
ON_PATH(symlink, 1, AT_FDCWD, (const char *to, const char *path), (to, path))
ON_PATH(symlinkat, 1, at, (const char *to, int at, const char *path), (to, at, path))
