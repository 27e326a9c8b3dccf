/* Counts the durable points that a process passes, and ends it at exactly one of them. Loaded with LD_PRELOAD by
 * tests/src/crash.rs, which explains it.
 *
 *   POINTS_FILE   a line is appended before each point: the call, and the file that it is about
 *   POINTS_KILL   "before N" or "after N": SIGKILL when the N-th call is about to be made, or has just returned
 *
 * The count is the process's own, over all its threads. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_ulong passed;

static void end_if_asked(const char *moment, unsigned long point)
{
    const char *asked = getenv("POINTS_KILL");
    size_t length = strlen(moment);
    if (asked && !strncmp(asked, moment, length) && strtoul(asked + length, NULL, 10) == point)
        for (kill(getpid(), SIGKILL);;)
            pause();
}

static unsigned long begin(const char *call, const char *about)
{
    unsigned long point = atomic_fetch_add(&passed, 1) + 1;
    const char *path = getenv("POINTS_FILE");
    int file = path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (file >= 0) {
        char line[PATH_MAX + 64];
        int length = snprintf(line, sizeof line, "%s %s\n", call, about);
        if (write(file, line, (size_t)length) != length)
            abort();
        close(file);
    }
    end_if_asked("before ", point);
    return point;
}

static const char *name_of(int descriptor, char *name)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, name, PATH_MAX - 1);
    name[length < 0 ? 0 : length] = 0;
    return name;
}

/* Defines a call of the C library that is a durable point. */
#define POINT(call, about, parameters, ...)                                  \
    int call parameters                                                      \
    {                                                                        \
        char name[PATH_MAX] __attribute__((unused));                         \
        int(*real) parameters = (int(*) parameters)dlsym(RTLD_NEXT, #call);  \
        unsigned long point = begin(#call, about);                           \
        int result = real(__VA_ARGS__);                                      \
        end_if_asked("after ", point);                                       \
        return result;                                                       \
    }

POINT(fsync, name_of(fd, name), (int fd), fd)
POINT(fdatasync, name_of(fd, name), (int fd), fd)
POINT(syncfs, name_of(fd, name), (int fd), fd)
POINT(sync_file_range, name_of(fd, name), (int fd, off64_t from, off64_t count, unsigned flags), fd, from, count, flags)
POINT(rename, to, (const char *from, const char *to), from, to)
POINT(renameat, to, (int from_fd, const char *from, int to_fd, const char *to), from_fd, from, to_fd, to)
POINT(renameat2, to, (int from_fd, const char *from, int to_fd, const char *to, unsigned flags), from_fd, from, to_fd, to, flags)
POINT(link, to, (const char *from, const char *to), from, to)
POINT(linkat, to, (int from_fd, const char *from, int to_fd, const char *to, int flags), from_fd, from, to_fd, to, flags)
