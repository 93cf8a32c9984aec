/* Makes system calls and allocations of the module's EV.so fail, as a control file says.
 *
 * Loaded by LD_PRELOAD. The file named by FAULTS_CONTROL holds a header and one rule for each
 * kind of call; it is shared memory between the test, which writes rules, and every process it
 * forks. Calls that come from elsewhere than EV.so, such as perl's own, pass untouched. The module
 * maps no memory itself: where mmap(2) fails, allocations or the start of threads do, as here.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CALLS(X)                                                                                   \
    X(open) X(read) X(write) X(pwrite) X(copy_file_range) X(sendfile) X(rename) X(link)            \
    X(unlink) X(stat) X(fchmod) X(lock) X(accept) X(recv) X(send) X(shutdown) X(socket) X(bind)    \
    X(listen) X(setsockopt) X(getsockopt) X(getsockname) X(epoll_create) X(epoll_ctl)              \
    X(epoll_wait) X(eventfd) X(poll) X(dup) X(getrandom) X(close) X(flush) X(thread) X(sigmask)    \
    X(memory)

enum call {
#define NUMBER(name) CALL_##name,
    CALLS(NUMBER)
#undef NUMBER
        NUMBER_OF_CALLS
};

static const char *const NAMES[] = {
#define NAME(name) #name,
    CALLS(NAME)
#undef NAME
};

/* What is to happen to calls of one kind; the layout is known to Faults.pm. */
struct rule {
    char name[16];
    /* The errno of the failure; 0 for none. */
    int32_t error;
    /* Instead of an error, at most so many bytes are handed on; 0 for no such limit. */
    uint32_t most;
    /* Calls that pass before, and that fail then. */
    _Atomic uint64_t skip;
    _Atomic uint64_t times;
    /* How many of 65536 fail. */
    uint32_t chance;
    /* The least size of an allocation that counts. */
    uint32_t least;
    /* Calls that counted while the rule was set, and failures. */
    _Atomic uint64_t calls;
    _Atomic uint64_t injected;
    /* The same of all rules that were set. */
    _Atomic uint64_t total;
};

struct control {
    _Atomic uint64_t random;
    char unused[56];
    struct rule rules[NUMBER_OF_CALLS];
};

static struct control *control;

#define REAL(name)                                                                                 \
    static __typeof__(name) *real;                                                                 \
    if (!real)                                                                                     \
        real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

#define HERE __builtin_return_address(0)

__attribute__((constructor)) static void load(void)
{
    const char *path = getenv("FAULTS_CONTROL");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0 || ftruncate(file, sizeof *control))
        return;
    void *map = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (map == MAP_FAILED)
        return;
    struct control *loaded = map;
    for (int call = 0; call < NUMBER_OF_CALLS; call++)
        strncpy(loaded->rules[call].name, NAMES[call], sizeof loaded->rules[call].name - 1);
    control = loaded;
}

/* Whether the code that calls is the module's. EV's own EV.so lies in another directory. */
static int is_ours(const void *caller)
{
    static const char suffix[] = "/HTTP/Server/EV/EV.so";
    Dl_info place;
    if (!dladdr(caller, &place) || !place.dli_fname)
        return 0;
    size_t length = strlen(place.dli_fname);
    return length >= sizeof suffix - 1 &&
           !strcmp(place.dli_fname + length - (sizeof suffix - 1), suffix);
}

/* xorshift64*, of which a lost update is of no concern. */
static uint32_t random_16_bits(void)
{
    uint64_t state = control->random;
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    control->random = state;
    return (uint32_t)((state * 0x2545F4914F6CDD1DULL) >> 48);
}

/* Takes one off the counter, unless it is at zero. */
static int take(_Atomic uint64_t *counter)
{
    uint64_t left = *counter;
    while (left && !atomic_compare_exchange_weak(counter, &left, left - 1)) {
    }
    return left > 0;
}

/* The rule by which this call is to fail or fall short; NULL if it is to pass. What is no longer
 * than the rule allows for passes, and counts for nothing. */
static const struct rule *failing(enum call call, size_t size, const void *caller)
{
    if (!control)
        return NULL;
    struct rule *rule = &control->rules[call];
    if ((!rule->error && !rule->most) || size < rule->least || (rule->most && size <= rule->most))
        return NULL;
    int before = errno;
    int ours = is_ours(caller);
    errno = before;
    if (!ours)
        return NULL;
    rule->calls++;
    if (take(&rule->skip) || random_16_bits() >= rule->chance || !take(&rule->times))
        return NULL;
    rule->injected++;
    rule->total++;
    return rule;
}

/* Files that this process has written to and not closed since: what file systems such as NFS have not
 * sent yet. A child that closes them loses nothing that its parent goes on writing. */
static struct {
    pid_t process;
    pthread_mutex_t lock;
    struct {
        dev_t device;
        ino_t inode;
    } files[64];
    unsigned count;
} unsent = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int is_plain_file(int file, struct stat64 *status)
{
    return control && !fstat64(file, status) && S_ISREG(status->st_mode);
}

/* The list and its lock are its parent's in a child. */
static void forget_parents(void)
{
    if (unsent.process == getpid())
        return;
    unsent.process = getpid();
    unsent.count = 0;
    pthread_mutex_init(&unsent.lock, NULL);
}

/* Takes the file off the list; returns whether it was there. */
static int take_unsent(int file)
{
    int before = errno;
    int found = 0;
    struct stat64 status;
    forget_parents();
    if (is_plain_file(file, &status)) {
        pthread_mutex_lock(&unsent.lock);
        for (unsigned index = 0; index < unsent.count && !found; index++) {
            found = unsent.files[index].device == status.st_dev &&
                    unsent.files[index].inode == status.st_ino;
            if (found)
                unsent.files[index] = unsent.files[--unsent.count];
        }
        pthread_mutex_unlock(&unsent.lock);
    }
    errno = before;
    return found;
}

static ssize_t note_written(int file, ssize_t written)
{
    const unsigned most = sizeof unsent.files / sizeof *unsent.files;
    int before = errno;
    struct stat64 status;
    if (written > 0 && is_plain_file(file, &status)) {
        take_unsent(file);
        pthread_mutex_lock(&unsent.lock);
        if (unsent.count < most) {
            unsent.files[unsent.count].device = status.st_dev;
            unsent.files[unsent.count].inode = status.st_ino;
            unsent.count++;
        }
        pthread_mutex_unlock(&unsent.lock);
    }
    errno = before;
    return written;
}

/* For a call that returns -1 on failure and takes no size. */
#define FAIL(call)                                                                                 \
    do {                                                                                           \
        const struct rule *rule = failing(CALL_##call, 0, HERE);                                   \
        if (rule) {                                                                                \
            errno = rule->error;                                                                   \
            return -1;                                                                             \
        }                                                                                          \
    } while (0)

/* For one that moves bytes. */
#define FAIL_OR_SHORTEN(call, size)                                                                \
    do {                                                                                           \
        const struct rule *rule = failing(CALL_##call, size, HERE);                                \
        if (rule && rule->error) {                                                                 \
            errno = rule->error;                                                                   \
            return -1;                                                                             \
        }                                                                                          \
        if (rule)                                                                                  \
            size = rule->most;                                                                                          \
    } while (0)

static mode_t mode_argument(int flags, va_list arguments)
{
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
}

#define OPEN(name)                                                                                 \
    int name(const char *path, int flags, ...)                                                     \
    {                                                                                              \
        REAL(name);                                                                                \
        va_list arguments;                                                                         \
        va_start(arguments, flags);                                                                \
        mode_t mode = mode_argument(flags, arguments);                                             \
        va_end(arguments);                                                                         \
        FAIL(open);                                                                                \
        return real(path, flags, mode);                                                            \
    }

#define OPENAT(name)                                                                               \
    int name(int directory, const char *path, int flags, ...)                                      \
    {                                                                                              \
        REAL(name);                                                                                \
        va_list arguments;                                                                         \
        va_start(arguments, flags);                                                                \
        mode_t mode = mode_argument(flags, arguments);                                             \
        va_end(arguments);                                                                         \
        FAIL(open);                                                                                \
        return real(directory, path, flags, mode);                                                 \
    }

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

ssize_t read(int file, void *buffer, size_t size)
{
    REAL(read);
    FAIL_OR_SHORTEN(read, size);
    return real(file, buffer, size);
}

/* Eight bytes wake the loop, by an eventfd that always takes them. */
ssize_t write(int file, const void *bytes, size_t size)
{
    REAL(write);
    if (size != sizeof(uint64_t))
        FAIL_OR_SHORTEN(write, size);
    return note_written(file, real(file, bytes, size));
}

#define PWRITE(name)                                                                               \
    ssize_t name(int file, const void *bytes, size_t size, off_t offset)                           \
    {                                                                                              \
        REAL(name);                                                                                \
        FAIL_OR_SHORTEN(pwrite, size);                                                             \
        return note_written(file, real(file, bytes, size, offset));                                \
    }

PWRITE(pwrite)
PWRITE(pwrite64)

ssize_t copy_file_range(int from, off_t *from_offset, int to, off_t *to_offset, size_t size,
                        unsigned flags)
{
    REAL(copy_file_range);
    FAIL_OR_SHORTEN(copy_file_range, size);
    return note_written(to, real(from, from_offset, to, to_offset, size, flags));
}

ssize_t sendfile64(int to, int from, off_t *offset, size_t size)
{
    REAL(sendfile64);
    FAIL_OR_SHORTEN(sendfile, size);
    return note_written(to, real(to, from, offset, size));
}

int rename(const char *from, const char *to)
{
    REAL(rename);
    FAIL(rename);
    return real(from, to);
}

int renameat(int from_directory, const char *from, int to_directory, const char *to)
{
    REAL(renameat);
    FAIL(rename);
    return real(from_directory, from, to_directory, to);
}

int linkat(int from_directory, const char *from, int to_directory, const char *to, int flags)
{
    REAL(linkat);
    FAIL(link);
    return real(from_directory, from, to_directory, to, flags);
}

int unlink(const char *path)
{
    REAL(unlink);
    FAIL(unlink);
    return real(path);
}

int unlinkat(int directory, const char *path, int flags)
{
    REAL(unlinkat);
    FAIL(unlink);
    return real(directory, path, flags);
}

int fstat64(int file, struct stat64 *status)
{
    REAL(fstat64);
    FAIL(stat);
    return real(file, status);
}

int stat64(const char *path, struct stat64 *status)
{
    REAL(stat64);
    FAIL(stat);
    return real(path, status);
}

int lstat64(const char *path, struct stat64 *status)
{
    REAL(lstat64);
    FAIL(stat);
    return real(path, status);
}

int fstatat64(int directory, const char *path, struct stat64 *status, int flags)
{
    REAL(fstatat64);
    FAIL(stat);
    return real(directory, path, status, flags);
}

int statx(int directory, const char *restrict path, int flags, unsigned mask,
          struct statx *restrict status)
{
    REAL(statx);
    FAIL(stat);
    return real(directory, path, flags, mask, status);
}

int fchmod(int file, mode_t mode)
{
    REAL(fchmod);
    FAIL(fchmod);
    return real(file, mode);
}

/* By which some come to fchmod(2). */
long syscall(long number, ...)
{
    REAL(syscall);
    long argument[6];
    va_list arguments;
    va_start(arguments, number);
    for (int index = 0; index < 6; index++)
        argument[index] = va_arg(arguments, long);
    va_end(arguments);
    if (number == SYS_fchmod)
        FAIL(fchmod);
    return real(number, argument[0], argument[1], argument[2], argument[3], argument[4],
                argument[5]);
}

int accept4(int socket, struct sockaddr *restrict address, socklen_t *restrict length, int flags)
{
    REAL(accept4);
    FAIL(accept);
    return real(socket, address, length, flags);
}

/* Not cut short: the system does that only to a socket that has nothing more, see epoll(7). */
ssize_t recv(int socket, void *buffer, size_t size, int flags)
{
    REAL(recv);
    FAIL(recv);
    return real(socket, buffer, size, flags);
}

ssize_t send(int socket, const void *bytes, size_t size, int flags)
{
    REAL(send);
    FAIL_OR_SHORTEN(send, size);
    return real(socket, bytes, size, flags);
}

int shutdown(int socket, int how)
{
    REAL(shutdown);
    FAIL(shutdown);
    return real(socket, how);
}

int socket(int family, int type, int protocol)
{
    REAL(socket);
    FAIL(socket);
    return real(family, type, protocol);
}

int bind(int socket, const struct sockaddr *address, socklen_t length)
{
    REAL(bind);
    FAIL(bind);
    return real(socket, address, length);
}

int listen(int socket, int backlog)
{
    REAL(listen);
    FAIL(listen);
    return real(socket, backlog);
}

int setsockopt(int socket, int level, int option, const void *value, socklen_t length)
{
    REAL(setsockopt);
    FAIL(setsockopt);
    return real(socket, level, option, value, length);
}

int getsockopt(int socket, int level, int option, void *restrict value,
               socklen_t *restrict length)
{
    REAL(getsockopt);
    FAIL(getsockopt);
    return real(socket, level, option, value, length);
}

int getsockname(int socket, struct sockaddr *restrict address, socklen_t *restrict length)
{
    REAL(getsockname);
    FAIL(getsockname);
    return real(socket, address, length);
}

int getpeername(int socket, struct sockaddr *restrict address, socklen_t *restrict length)
{
    REAL(getpeername);
    FAIL(getsockname);
    return real(socket, address, length);
}

int epoll_create1(int flags)
{
    REAL(epoll_create1);
    FAIL(epoll_create);
    return real(flags);
}

/* What is registered can be changed and removed without memory. */
int epoll_ctl(int epoll, int operation, int file, struct epoll_event *event)
{
    REAL(epoll_ctl);
    if (operation == EPOLL_CTL_ADD)
        FAIL(epoll_ctl);
    return real(epoll, operation, file, event);
}

int epoll_wait(int epoll, struct epoll_event *events, int most, int timeout)
{
    REAL(epoll_wait);
    FAIL(epoll_wait);
    return real(epoll, events, most, timeout);
}

int eventfd(unsigned value, int flags)
{
    static int (*real)(unsigned, int);
    if (!real)
        real = (int (*)(unsigned, int))dlsym(RTLD_NEXT, "eventfd");
    FAIL(eventfd);
    return real(value, flags);
}

int poll(struct pollfd *files, nfds_t count, int timeout)
{
    REAL(poll);
    FAIL(poll);
    return real(files, count, timeout);
}

int ppoll(struct pollfd *files, nfds_t count, const struct timespec *timeout,
          const sigset_t *signals)
{
    REAL(ppoll);
    FAIL(poll);
    return real(files, count, timeout, signals);
}

#define FCNTL(name)                                                                                \
    int name(int file, int command, ...)                                                           \
    {                                                                                              \
        REAL(name);                                                                                \
        va_list arguments;                                                                         \
        va_start(arguments, command);                                                              \
        void *argument = va_arg(arguments, void *);                                                \
        va_end(arguments);                                                                         \
        if (command == F_DUPFD_CLOEXEC)                                                            \
            FAIL(dup);                                                                             \
        else if (command == F_OFD_SETLK || command == F_OFD_GETLK)                                 \
            FAIL(lock);                                                                            \
        return real(file, command, argument);                                                      \
    }

FCNTL(fcntl)
FCNTL(fcntl64)

ssize_t getrandom(void *buffer, size_t size, unsigned flags)
{
    static ssize_t (*real)(void *, size_t, unsigned);
    if (!real)
        real = (ssize_t(*)(void *, size_t, unsigned))dlsym(RTLD_NEXT, "getrandom");
    FAIL_OR_SHORTEN(getrandom, size);
    return real(buffer, size, flags);
}

/* As Linux does, it has closed the file whatever it says. One that fails to flush has lost all of
 * the file. */
int close(int file)
{
    REAL(close);
    const struct rule *rule = take_unsent(file) ? failing(CALL_flush, 0, HERE) : NULL;
    if (rule && ftruncate(file, 0))
        rule = NULL;
    if (!rule)
        rule = failing(CALL_close, 0, HERE);
    int result = real(file);
    if (rule) {
        errno = rule->error;
        return -1;
    }
    return result;
}

int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict attributes,
                   void *(*run)(void *), void *restrict argument)
{
    REAL(pthread_create);
    const struct rule *rule = failing(CALL_thread, 0, HERE);
    return rule ? rule->error : real(thread, attributes, run, argument);
}

int pthread_sigmask(int how, const sigset_t *restrict set, sigset_t *restrict before)
{
    REAL(pthread_sigmask);
    const struct rule *rule = failing(CALL_sigmask, 0, HERE);
    return rule ? rule->error : real(how, set, before);
}

/* glibc's own names for its allocator: dlsym may allocate. */
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);

void *malloc(size_t size)
{
    if (failing(CALL_memory, size, HERE)) {
        errno = ENOMEM;
        return NULL;
    }
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    if (failing(CALL_memory, count * size, HERE)) {
        errno = ENOMEM;
        return NULL;
    }
    return __libc_calloc(count, size);
}

/* To make something smaller never fails. */
void *realloc(void *memory, size_t size)
{
    int grows = size > (memory ? malloc_usable_size(memory) : 0);
    if (grows && failing(CALL_memory, size, HERE)) {
        errno = ENOMEM;
        return NULL;
    }
    return __libc_realloc(memory, size);
}
