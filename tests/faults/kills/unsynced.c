/* What would a power failure take from a program's files? Preloaded, this keeps a journal of all that is not yet synced.
 *
 *     UNSYNCED_DIRECTORY=/data UNSYNCED_JOURNAL=/elsewhere/journal LD_PRELOAD=./unsynced.so program
 *
 * Before a file below the directory is changed, what it held there goes to the journal; after a sync of the file, a line
 * that says how much of the journal is safe. When the program was killed, power.py takes back what is not.
 *
 * A file is its inode, so that renaming needs no line. Names are durable at once: creating, renaming and unlinking cannot
 * be lost. SQLite's "-shm" is left out: it is mapped memory, and holds nothing that counts. Not seen are writes through
 * stdio, other mapped memory, O_TRUNC, pwritev, fallocate and copies inside the kernel; SQLite uses none of these.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CHANGED = 1, SYNCED = 2, GONE = 3 };

/* A line of the journal; power.py reads it as "=5Q". For SYNCED, `offset` is the length of the journal that is safe. */
struct line {
    uint64_t kind;
    uint64_t inode;
    uint64_t offset;
    uint64_t size;   /* of the file, before */
    uint64_t length; /* of the old bytes that follow */
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* a change and its line are one */
static char directory[PATH_MAX];
static size_t directory_length;
static dev_t device;
static int journal = -1;

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off64_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static int (*real_ftruncate)(int, off64_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_unlink)(const char *);
static int (*real_rename)(const char *, const char *);

static void fail(const char *what)
{
    fprintf(stderr, "unsynced: %s: %s\n", what, strerror(errno));
    abort(); /* an incomplete journal would blame the program */
}

static void begin(void)
{
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_writev = dlsym(RTLD_NEXT, "writev");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_unlink = dlsym(RTLD_NEXT, "unlink");
    real_rename = dlsym(RTLD_NEXT, "rename");

    const char *below = getenv("UNSYNCED_DIRECTORY");
    const char *file = getenv("UNSYNCED_JOURNAL");
    struct stat status;
    if (!below || !file || !realpath(below, directory) || stat(directory, &status))
        fail("UNSYNCED_DIRECTORY and UNSYNCED_JOURNAL must name a directory and a file");
    directory_length = strlen(directory);
    device = status.st_dev;
    journal = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (journal < 0)
        fail(file);
}

/* Whether the file is one of ours: then `status` is its. */
static int is_ours(int fd, struct stat *status)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path);
    if (length <= (ssize_t)directory_length || memcmp(path, directory, directory_length) || path[directory_length] != '/')
        return 0;
    if (length >= 4 && !memcmp(path + length - 4, "-shm", 4))
        return 0;
    return fstat(fd, status) == 0 && S_ISREG(status->st_mode);
}

static void append(uint64_t kind, uint64_t inode, uint64_t offset, uint64_t size, void *old, uint64_t length)
{
    struct line line = {kind, inode, offset, size, length};
    struct iovec parts[2] = {{&line, sizeof line}, {old, length}};
    if (real_writev(journal, parts, 2) != (ssize_t)(sizeof line + length))
        fail("the journal cannot be written");
}

/* Read what stands at `offset`. The descriptor itself is asked first: closing another one of the same file would end the
 * record locks that the program holds on it. */
static void read_old(int fd, char *old, size_t length, off64_t offset)
{
    int reader = fd;
    for (size_t done = 0; done < length;) {
        ssize_t got = pread64(reader, old + done, length - done, offset + done);
        if (got > 0)
            done += got;
        else if (got < 0 && errno == EBADF && reader == fd) { /* open for writing only */
            char link[64];
            snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
            reader = open(link, O_RDONLY | O_CLOEXEC);
        } else
            fail("the old bytes cannot be read");
    }
    if (reader != fd)
        close(reader);
}

/* Journal what stands at `offset`, where `count` bytes are about to change. */
static void before_change(int fd, const struct stat *status, off64_t offset, size_t count)
{
    off64_t left = status->st_size - offset;
    size_t length = left <= 0 ? 0 : (size_t)left < count ? (size_t)left : count;
    char *old = malloc(length + 1);
    if (!old)
        fail("no memory for the old bytes");
    read_old(fd, old, length, offset);
    append(CHANGED, status->st_ino, offset, status->st_size, old, length);
    free(old);
}

static off64_t position(int fd, const struct stat *status)
{
    return fcntl(fd, F_GETFL) & O_APPEND ? status->st_size : lseek64(fd, 0, SEEK_CUR);
}

ssize_t write(int fd, const void *data, size_t count)
{
    struct stat status;
    pthread_once(&once, begin);
    if (!is_ours(fd, &status))
        return real_write(fd, data, count);
    pthread_mutex_lock(&lock);
    fstat(fd, &status);
    before_change(fd, &status, position(fd, &status), count);
    ssize_t result = real_write(fd, data, count);
    pthread_mutex_unlock(&lock);
    return result;
}

ssize_t writev(int fd, const struct iovec *parts, int number)
{
    struct stat status;
    pthread_once(&once, begin);
    if (!is_ours(fd, &status))
        return real_writev(fd, parts, number);
    size_t count = 0;
    for (int i = 0; i < number; i++)
        count += parts[i].iov_len;
    pthread_mutex_lock(&lock);
    fstat(fd, &status);
    before_change(fd, &status, position(fd, &status), count);
    ssize_t result = real_writev(fd, parts, number);
    pthread_mutex_unlock(&lock);
    return result;
}

ssize_t pwrite64(int fd, const void *data, size_t count, off64_t offset)
{
    struct stat status;
    pthread_once(&once, begin);
    if (!is_ours(fd, &status))
        return real_pwrite(fd, data, count, offset);
    pthread_mutex_lock(&lock);
    fstat(fd, &status);
    before_change(fd, &status, offset, count);
    ssize_t result = real_pwrite(fd, data, count, offset);
    pthread_mutex_unlock(&lock);
    return result;
}

ssize_t pwrite(int fd, const void *data, size_t count, off_t offset)
{
    return pwrite64(fd, data, count, offset);
}

int ftruncate64(int fd, off64_t size)
{
    struct stat status;
    pthread_once(&once, begin);
    if (!is_ours(fd, &status))
        return real_ftruncate(fd, size);
    pthread_mutex_lock(&lock);
    fstat(fd, &status);
    before_change(fd, &status, size, size < status.st_size ? status.st_size - size : 0);
    int result = real_ftruncate(fd, size);
    pthread_mutex_unlock(&lock);
    return result;
}

int ftruncate(int fd, off_t size)
{
    return ftruncate64(fd, size);
}

/* Other threads write while a sync runs: what they wrote since it began is not safe. */
static int sync_file(int fd, int (*real)(int))
{
    struct stat status;
    if (!is_ours(fd, &status))
        return real(fd);
    pthread_mutex_lock(&lock);
    off64_t safe = lseek64(journal, 0, SEEK_END);
    pthread_mutex_unlock(&lock);
    int result = real(fd);
    if (result == 0) {
        pthread_mutex_lock(&lock);
        append(SYNCED, status.st_ino, safe, 0, NULL, 0);
        pthread_mutex_unlock(&lock);
    }
    return result;
}

int fsync(int fd)
{
    pthread_once(&once, begin);
    return sync_file(fd, real_fsync);
}

int fdatasync(int fd)
{
    pthread_once(&once, begin);
    return sync_file(fd, real_fdatasync);
}

/* A file without a name is gone, and its inode may serve the next file. */
static void gone(const struct stat *status)
{
    if (status->st_dev == device && S_ISREG(status->st_mode) && status->st_nlink == 1)
        append(GONE, status->st_ino, 0, 0, NULL, 0);
}

int unlink(const char *path)
{
    struct stat status;
    pthread_once(&once, begin);
    pthread_mutex_lock(&lock);
    int known = lstat(path, &status) == 0;
    int result = real_unlink(path);
    if (result == 0 && known)
        gone(&status);
    pthread_mutex_unlock(&lock);
    return result;
}

int rename(const char *from, const char *to)
{
    struct stat status, moved;
    pthread_once(&once, begin);
    pthread_mutex_lock(&lock);
    int known = lstat(to, &status) == 0 && lstat(from, &moved) == 0 && status.st_ino != moved.st_ino;
    int result = real_rename(from, to);
    if (result == 0 && known)
        gone(&status);
    pthread_mutex_unlock(&lock);
    return result;
}
