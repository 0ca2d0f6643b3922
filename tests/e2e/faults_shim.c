/* SPDX-License-Identifier: MIT */
/* For tests, by LD_PRELOAD: another wall clock, and a disk that takes no more, without root or a
 * mount. What happens is said in a small file, $FAULTS_CONTROL, that all processes map and the
 * test writes (shim.py); a disk is what lies below $FAULTS_ROOT.
 *
 * System calls are made directly, so that it makes no difference what else (a sanitizer) stands
 * between the program and libc. The wall clock is shifted as it is read: waits until a moment of
 * it (there are none: waits go by the steady clock) and the times of files are not. */
#undef _FILE_OFFSET_BITS /* or pwrite would be the symbol pwrite64, and both are needed */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))

enum {
    REFUSE_GROWTH = 1, /* writes past a file's end: what a full disk does */
    REFUSE_WRITES = 2, /* all of them: a disk that copies on write */
    REFUSE_SYNCS = 4,  /* a disk that notices late */
};

struct control {
    int64_t clock_ns; /* added to the wall clock */
    uint32_t refuse;
    uint32_t n_processes; /* counted here, for the test to see that we are there */
    uint32_t n_refused;
};

static struct control nothing, *control = &nothing;
static char root[PATH_MAX];
static size_t root_len;

__attribute__((constructor)) static void attach(void)
{
    const char *path = getenv("FAULTS_CONTROL"), *below = getenv("FAULTS_ROOT");
    int fd = path && below ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *map = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map == MAP_FAILED)
        return;
    snprintf(root, sizeof root, "%s/", below);
    root_len = strlen(root);
    control = map;
    __atomic_add_fetch(&control->n_processes, 1, __ATOMIC_RELAXED);
}

/* ---- the clock ---- */

static int64_t wall_ns(void)
{
    struct timespec t;
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec +
           __atomic_load_n(&control->clock_ns, __ATOMIC_RELAXED);
}

EXPORTED int clock_gettime(clockid_t clock, struct timespec *t)
{
    if (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)
        return (int)syscall(SYS_clock_gettime, clock, t);
    int64_t now = wall_ns();
    *t = (struct timespec){now / 1000000000, now % 1000000000};
    return 0;
}

EXPORTED int gettimeofday(struct timeval *restrict t, void *restrict zone)
{
    int64_t now = wall_ns();
    *t = (struct timeval){now / 1000000000, now % 1000000000 / 1000};
    if (zone)
        *(struct timezone *)zone = (struct timezone){0};
    return 0;
}

EXPORTED time_t time(time_t *out)
{
    time_t now = wall_ns() / 1000000000;
    if (out)
        *out = now;
    return now;
}

/* ---- the disk ---- */

static int is_on_disk(int fd)
{
    char link[32], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path);
    return n > 0 && (size_t)n > root_len && !memcmp(path, root, root_len);
}

static int refuse(uint32_t what, int fd)
{
    if (!(__atomic_load_n(&control->refuse, __ATOMIC_RELAXED) & what) || !is_on_disk(fd))
        return 0;
    __atomic_add_fetch(&control->n_refused, 1, __ATOMIC_RELAXED);
    errno = ENOSPC;
    return 1;
}

/* at < 0: where the descriptor stands. */
static int refuse_write(int fd, off_t at, size_t n)
{
    struct stat s;
    uint32_t what = REFUSE_WRITES;
    if (!__atomic_load_n(&control->refuse, __ATOMIC_RELAXED))
        return 0;
    int saved = errno;
    off_t from = at < 0 ? lseek(fd, 0, SEEK_CUR) : at;
    if (!fstat(fd, &s) && from >= 0 && from + (off_t)n > s.st_size)
        what |= REFUSE_GROWTH;
    errno = saved;
    return refuse(what, fd);
}

EXPORTED ssize_t write(int fd, const void *bytes, size_t n)
{
    return refuse_write(fd, -1, n) ? -1 : syscall(SYS_write, fd, bytes, n);
}

EXPORTED ssize_t pwrite(int fd, const void *bytes, size_t n, off_t at)
{
    return refuse_write(fd, at, n) ? -1 : syscall(SYS_pwrite64, fd, bytes, n, at);
}

EXPORTED ssize_t pwrite64(int fd, const void *bytes, size_t n, off64_t at)
{
    return pwrite(fd, bytes, n, at);
}

EXPORTED ssize_t writev(int fd, const struct iovec *parts, int n_parts)
{
    size_t n = 0;
    for (int i = 0; i < n_parts; i++)
        n += parts[i].iov_len;
    return refuse_write(fd, -1, n) ? -1 : syscall(SYS_writev, fd, parts, n_parts);
}

EXPORTED int fallocate(int fd, int mode, off_t at, off_t n)
{
    return refuse_write(fd, at, (size_t)n) ? -1 : (int)syscall(SYS_fallocate, fd, mode, at, n);
}

EXPORTED int fallocate64(int fd, int mode, off64_t at, off64_t n)
{
    return fallocate(fd, mode, at, n);
}

EXPORTED int posix_fallocate(int fd, off_t at, off_t n)
{
    return fallocate(fd, 0, at, n) ? errno : 0;
}

EXPORTED int posix_fallocate64(int fd, off64_t at, off64_t n)
{
    return posix_fallocate(fd, at, n);
}

EXPORTED int fsync(int fd)
{
    return refuse(REFUSE_SYNCS, fd) ? -1 : (int)syscall(SYS_fsync, fd);
}

EXPORTED int fdatasync(int fd)
{
    return refuse(REFUSE_SYNCS, fd) ? -1 : (int)syscall(SYS_fdatasync, fd);
}
