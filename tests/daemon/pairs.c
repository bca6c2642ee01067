/* SPDX-License-Identifier: Apache-2.0 */
/* pairs PORT CLIENTS PAIRS [reset]: each client registers a name of its own at 127.0.0.1:PORT, closes, and registers
 * it again at once, until all have made PAIRS such pairs between them. Prints how many were refused and how many failed
 * in another way. "reset": closes with answer bytes unread, as ei does, so that the close is an RST. */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct sockaddr_in server = { .sin_family = AF_INET };
static atomic_int n_left;
static atomic_int n_refused, n_failed;
static bool is_reset;

static size_t make_request(unsigned char *request, int client) {
        char name[32];
        size_t n_name = (size_t)snprintf(name, sizeof name, "client%d", client), n_body = 13 + n_name;
        const unsigned char head[] = { (unsigned char)(n_body >> 8), (unsigned char)n_body,
                                       'x', 0x9a, 0x19, 77, 0, 0, 6, 0, 5, 0, (unsigned char)n_name };

        memcpy(request, head, sizeof head);
        memcpy(request + sizeof head, name, n_name);
        memset(request + sizeof head + n_name, 0, 2);
        return sizeof head + n_name + 2;
}

/* The socket that holds the name, or -1. */
static int register_name(const unsigned char *request, size_t n_request) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        unsigned char answer[6];
        ssize_t n = -1;

        if (fd >= 0 && connect(fd, (struct sockaddr *)&server, sizeof server) == 0 &&
            send(fd, request, n_request, MSG_NOSIGNAL) == (ssize_t)n_request)
                n = recv(fd, answer, is_reset ? 4 : 6, MSG_WAITALL);
        if (n == (is_reset ? 4 : 6) && answer[0] == 'v' && answer[1] == 0)
                return fd;
        if (n >= 2 && answer[0] == 'v')
                atomic_fetch_add(&n_refused, 1);
        else
                atomic_fetch_add(&n_failed, 1);
        if (fd >= 0)
                close(fd);
        return -1;
}

static void *run_client(void *argument) {
        unsigned char request[64];
        size_t n_request = make_request(request, (int)(long)argument);
        int fd = register_name(request, n_request);

        while (atomic_fetch_sub(&n_left, 1) > 0) {
                if (fd >= 0)
                        close(fd);
                fd = register_name(request, n_request);
        }
        if (fd >= 0)
                close(fd);
        return NULL;
}

int main(int argc, char **argv) {
        int n_clients = argc > 3 ? atoi(argv[2]) : 0;
        pthread_t threads[64];

        if (n_clients < 1 || n_clients > 64)
                return 2;
        server.sin_port = htons((unsigned short)atoi(argv[1]));
        server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        atomic_store(&n_left, atoi(argv[3]));
        is_reset = argc > 4 && strcmp(argv[4], "reset") == 0;
        for (long i = 0; i < n_clients; i++)
                if (pthread_create(threads + i, NULL, run_client, (void *)i) != 0)
                        return 1;
        for (int i = 0; i < n_clients; i++)
                pthread_join(threads[i], NULL);
        printf("refused %d failed %d\n", atomic_load(&n_refused), atomic_load(&n_failed));
        return 0;
}
