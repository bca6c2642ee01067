// SPDX-License-Identifier: Apache-2.0
// What a process of a unit can do: tries one thing after the other and prints "NAME ok" or "NAME ERRNO" of each.
//
//     probe OWN_DIRECTORY        where it may write, if anywhere
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

static char own[256];

// 0, or why not.
static int result_of(int fd) {
        if (fd < 0)
                return errno;
        close(fd);
        return 0;
}

static int result_of_call(long result) {
        return result < 0 ? errno : 0;
}

static int try_socket(int family, int type, int protocol) {
        return result_of(socket(family, type, protocol));
}

static int try_connect(const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd, error;

        snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        error = fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0 ? errno : 0;
        close(fd);
        return error;
}

static int try_send(const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd, error;

        snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
        fd = socket(AF_UNIX, SOCK_DGRAM, 0);
        error = fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0 ? errno : 0;
        close(fd);
        return error;
}

static int try_read(const char *path) {
        return result_of(open(path, O_RDONLY | O_CLOEXEC));
}

static const char *within(const char *directory) {
        static char path[300];

        snprintf(path, sizeof path, "%s/probe-%ld", directory, (long)getpid());
        return path;
}

static int try_write(const char *directory) {
        int error = result_of(open(within(directory), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));

        unlink(within(directory));
        return error;
}

// Replaces this process where it may: to be asked last.
static int try_exec(const char *path) {
        execl(path, path, "-c", "echo exec ok", (char *)NULL);
        return errno;
}

static const char *copy_of_self(const char *directory) {
        static char path[300];
        char buffer[65536];
        ssize_t n;
        int from = open("/proc/self/exe", O_RDONLY), to;

        snprintf(path, sizeof path, "%s/probe-copy-%ld", directory, (long)getpid());
        to = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0755);
        while ((n = read(from, buffer, sizeof buffer)) > 0)
                if (write(to, buffer, (size_t)n) != n)
                        break;
        fchmod(to, 0755);
        close(from);
        close(to);
        return path;
}

static int try_exec_of_copy(const char *directory) {
        const char *path = copy_of_self(directory);
        int error = access(path, F_OK) < 0 ? errno : 0;

        if (error == 0)
                error = access(path, X_OK) < 0 ? errno : 0; // says EACCES also for a mount without exec
        unlink(path);
        return error;
}

static int try_map_code_of_own(void) {
        const char *path = copy_of_self(own);
        int fd = open(path, O_RDONLY | O_CLOEXEC), error = 0;
        void *map = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);

        if (map == MAP_FAILED)
                error = errno;
        close(fd);
        unlink(path);
        return error;
}

static int try_writable_code(void) {
        void *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        return map == MAP_FAILED ? errno : 0;
}

static int try_code_from_data(void) {
        void *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        return result_of_call(mprotect(map, 4096, PROT_READ | PROT_EXEC));
}

static int try_suid_file(void) {
        char path[300];
        int fd, error;

        snprintf(path, sizeof path, "%s/probe-suid", own);
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0)
                return errno;
        error = fchmod(fd, 04755) < 0 ? errno : 0;
        close(fd);
        unlink(path);
        return error;
}

// Its own, by the call that reads another's.
static int try_memory_of_process(void) {
        char copy;
        struct iovec from = { own, 1 }, to = { &copy, 1 };

        return result_of_call(process_vm_readv(getpid(), &to, 1, &from, 1, 0));
}

static void *nothing(void *unused) {
        return unused;
}

static int try_thread(void) {
        pthread_t thread;
        int error = pthread_create(&thread, NULL, nothing, NULL);

        return error ? error : pthread_join(thread, NULL);
}

static void told(const char *name, int error) {
        printf("%s %s\n", name, error ? strerrorname_np(error) : "ok");
        fflush(stdout);
}

int main(int argc, char *argv[]) {
        snprintf(own, sizeof own, "%s", argc > 1 ? argv[1] : "/nowhere");

        told("unix", try_socket(AF_UNIX, SOCK_STREAM, 0));
        told("sock-diag", try_socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG));
        told("tcp", try_socket(AF_INET, SOCK_STREAM, 0));
        told("tcp6", try_socket(AF_INET6, SOCK_STREAM, 0));
        told("udp", try_socket(AF_INET, SOCK_DGRAM, 0));
        told("crypto", try_socket(AF_ALG, SOCK_SEQPACKET, 0));

        told("bus", try_connect("/run/dbus/system_bus_socket"));
        told("journal", try_send("/run/systemd/journal/socket"));
        told("control", try_connect("/run/rollcall/control"));
        told("cgroups", try_read("/sys/fs/cgroup/system.slice"));
        told("libraries", try_read("/usr/lib"));
        told("self", try_read("/proc/self/status"));
        told("thread", try_thread());

        told("write-own", try_write(own));
        told("write-elsewhere", try_write("/srv/open"));
        told("write-run", try_write("/run/open"));
        told("shared-memory", try_write("/dev/shm"));
        told("home", try_read("/home/open/file"));
        told("tmp", try_read("/tmp/open"));
        told("var-tmp", try_read("/var/tmp/open"));
        told("others", try_read("/proc/1/status"));
        told("kernel", try_read("/proc/sys/kernel/random/uuid"));
        told("device", try_read("/dev/open"));
        told("suid-file", try_suid_file());

        told("exec-own", try_exec_of_copy(own));
        told("exec-tmp", try_exec_of_copy("/tmp"));
        told("map-code-of-own", try_map_code_of_own());
        told("writable-code", try_writable_code());
        told("code-from-data", try_code_from_data());
        told("other-memory", try_memory_of_process());
        told("user-namespace", result_of_call(unshare(CLONE_NEWUSER)));
        told("personality", result_of_call(personality(PER_LINUX32)));
        told("message-queue", result_of_call(syscall(SYS_msgget, 0, 0600)));
        told("nice", result_of_call(setpriority(0, 0, 5)));
        told("lock-memory", result_of_call(mlock(own, 1)));
        told("exec", try_exec("/bin/sh"));
        return 0;
}
