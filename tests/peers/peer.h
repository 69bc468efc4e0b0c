/*
 * What the clients here share. They are programs of libpcap's side of the
 * protocol: what its remote capture does on the wire is what is tested, so
 * they call it as an application would and nothing else.
 *
 * Output that the tests read is one line per event, "key=value" fields apart
 * from the first word, flushed at once. Errors are one line on standard error
 * and exit code 1; a wrong command line is exit code 2.
 */
#ifndef PEER_H
#define PEER_H

#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <pcap/pcap.h>

__attribute__((noreturn, format(printf, 1, 2))) static inline void
die(const char *format, ...)
{
	va_list args;

	fflush(stdout);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

/* NULL authentication without a user. */
static inline struct pcap_rmtauth
authentication(const char *user, const char *password)
{
	struct pcap_rmtauth auth = { .type = RPCAP_RMTAUTH_NULL };

	if (user != NULL || password != NULL) {
		auth.type = RPCAP_RMTAUTH_PWD;
		auth.username = (char *)user;
		auth.password = (char *)password;
	}
	return auth;
}

/*
 * Active mode: waits for one daemon to connect to this port. A URL with that
 * daemon's address then uses its connection instead of making one.
 */
static inline void
accept_daemon(const char *port, struct pcap_rmtauth *auth)
{
	char error[PCAP_ERRBUF_SIZE] = "", host[RPCAP_HOSTLIST_SIZE] = "";

	if (pcap_remoteact_accept(NULL, port, NULL, host, auth, error) == -1)
		die("pcap_remoteact_accept: %s", error);
	printf("accepted host=%s\n", host);
	fflush(stdout);
}

#endif
