/* SPDX-License-Identifier: Apache-2.0 */
/* rollcalld: the exit statuses, and nothing else. See rollcalld(8). */

#include <stdio.h>
#include <stdlib.h>

#include "config/config.h"
#include "log.h"
#include "server.h"

#define EXIT_USAGE 2

static int run(Config *config) {
        _cleanup_(server_freep) Server *server = NULL;
        int r;

        log_init(config->log_format, config->settings.log_priority, config->debug);
        r = server_new(&server, config);
        if (r >= 0)
                r = server_run(server);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv) {
        _cleanup_(config_done) Config config;
        int status = EXIT_SUCCESS;

        if (config_parse(&config, argc, argv) < 0)
                return EXIT_USAGE;
        if (config.help)
                fputs(config_help, stdout);
        else if (config.version)
                puts("rollcalld " PACKAGE_VERSION);
        else if (config.check_config)
                status = config_check(&config);
        else if (config.dump_config)
                status = config_dump(&config);
        else
                status = run(&config);
        log_done();
        return status;
}
