/* magicd.c -- main of magicd: flags, signals, one line when ready, a clean end.
 *
 * Exit status  0 ended by SIGTERM or SIGINT; 1 could not start; 2 wrong settings. A second signal ends it at once.
 * SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/stop.h"
#include "base/version.h"
#include "server/server.h"

static void print_help(void)
{
    printf("magicd -- live columnar replica of TiDB: store, latch service, Arrow Flight, syncer (Magic %s)\n\n"
           "Usage: magicd --data DIR [--source-listen unix:/PATH] [FLAGS]\n\n",
           mg_version());
    mg_settings_print_help(stdout);
    printf("  %-34s this text\n  %-34s the version\n", "--help", "--version");
}

/* Signals are taken by sigwait in main; every thread inherits the block. */
static sigset_t block_signals(void)
{
    sigset_t set;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    return set;
}

static int wait_for_end(const sigset_t *set)
{
    int got;

    while (sigwait(set, &got) != 0 || got == SIGHUP)
        ;
    return got;
}

static int serve(const struct mg_settings *settings)
{
    struct mg_error err = MG_ERROR_INIT;
    struct mg_server *server;
    sigset_t signals = block_signals();

    mg_log_set_level((enum mg_log_level)mg_log_level_from_name(mg_setting_text(settings, MG_SETTING_LOG_LEVEL)));
    enum mg_code code = mg_server_start(settings, &server, &err);
    if (code != MG_OK) {
        fprintf(stderr, "magicd: %s\n", err.text);
        return code == MG_INVALID ? 2 : 1;
    }
    printf("magicd %s ready at %s\n", mg_version(), mg_server_address(server));
    fflush(stdout);
    int signal_number = wait_for_end(&signals);
    mg_log(MG_LOG_INFO, "server", "ending signal=%s", strsignal(signal_number));
    pthread_sigmask(SIG_UNBLOCK, &signals, NULL); /* a second one ends us at once */
    mg_server_stop(server);
    mg_log(MG_LOG_INFO, "server", "ended");
    return 0;
}

int main(int argc, char **argv)
{
    static struct mg_settings settings;
    struct mg_error err = MG_ERROR_INIT;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_help();
            return 0;
        }
        if (strcmp(argv[i], "--version") == 0) {
            printf("magicd %s (%s)\n", mg_version(), mg_version_commit());
            return 0;
        }
    }
    umask(077); /* what is stored is for this user only */
    const char *wrong_stop = mg_stop_init();
    if (wrong_stop) {
        fprintf(stderr, "magicd: MAGIC_STOP: %s\n", wrong_stop);
        return 2;
    }
    mg_settings_init(&settings);
    if (mg_settings_read_flags(&settings, mg_io_system(), argc, argv, &err) != MG_OK) {
        fprintf(stderr, "magicd: %s\n", err.text);
        return 2;
    }
    return serve(&settings);
}
