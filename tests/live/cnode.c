/* SPDX-License-Identifier: Apache-2.0 */
/* A C node by erlang-dev's ei: publishes itself, prints its creation, and answers {Pid, hello} with
 * {cnode, hello} until it is told {Pid, stop}. */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <ei.h>

static int listen_anywhere(int *ret_port) {
        struct sockaddr_in address = { .sin_family = AF_INET };
        socklen_t n_address = sizeof(address);
        int fd = socket(AF_INET, SOCK_STREAM, 0);

        if (fd < 0 || bind(fd, (struct sockaddr *) &address, n_address) < 0 || listen(fd, 5) < 0 ||
            getsockname(fd, (struct sockaddr *) &address, &n_address) < 0)
                return -1;
        *ret_port = ntohs(address.sin_port);
        return fd;
}

/* False once the node is told to stop, or its peer is gone. */
static int serve_one(ei_cnode *node, int fd) {
        ei_x_buff in, out;
        erlang_msg message;
        erlang_pid from;
        char word[MAXATOMLEN];
        int kind, version, arity, index = 0;

        (void) node;
        ei_x_new(&in);
        kind = ei_xreceive_msg(fd, &message, &in);
        if (kind == ERL_TICK)
                return 1;
        if (kind != ERL_MSG || ei_decode_version(in.buff, &index, &version) < 0 ||
            ei_decode_tuple_header(in.buff, &index, &arity) < 0 || arity != 2 ||
            ei_decode_pid(in.buff, &index, &from) < 0 || ei_decode_atom(in.buff, &index, word) < 0)
                return 0;
        ei_x_new_with_version(&out);
        ei_x_encode_tuple_header(&out, 2);
        ei_x_encode_atom(&out, "cnode");
        ei_x_encode_atom(&out, word);
        ei_send(fd, &from, out.buff, out.index);
        ei_x_free(&out);
        ei_x_free(&in);
        return strcmp(word, "stop") != 0;
}

int main(int argc, char **argv) {
        struct in_addr loopback = { .s_addr = htonl(INADDR_LOOPBACK) };
        char full[MAXNODELEN + 1];
        ErlConnect peer;
        ei_cnode node;
        int listen_fd, port, epmd_fd, fd;

        if (argc != 4)
                return fprintf(stderr, "usage: cnode NAME HOST COOKIE\n"), 2;
        snprintf(full, sizeof(full), "%s@%s", argv[1], argv[2]);
        ei_init();
        listen_fd = listen_anywhere(&port);
        if (listen_fd < 0 || ei_connect_xinit(&node, argv[2], argv[1], full, &loopback, argv[3], 0) < 0)
                return perror("cnode"), 1;
        epmd_fd = ei_publish(&node, port);
        if (epmd_fd < 0)
                return fprintf(stderr, "ei_publish failed\n"), 1;
        printf("published %d\n", port);
        fflush(stdout);
        fd = ei_accept(&node, listen_fd, &peer);
        if (fd < 0)
                return fprintf(stderr, "ei_accept failed\n"), 1;
        while (serve_one(&node, fd))
                ;
        close(fd);
        close(epmd_fd);
        return 0;
}
