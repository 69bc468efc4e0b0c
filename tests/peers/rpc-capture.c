/*
 * Captures from a daemon through libpcap, with what tcpdump has no option for:
 * UDP data, a filter that changes during the capture, statistics in the middle
 * of it, sampling, active mode, passwords.
 *
 *   rpc-capture [options] rpcap://HOST:PORT/DEVICE
 *
 *   -s N        snapshot length (262144)
 *   -p          not promiscuous
 *   -u          packets over UDP
 *   -n          leave the traffic of this session out (NOCAPTURE_RPCAP)
 *   -f FILTER   filter from the start
 *   -F N:FILTER change to this filter once N packets have come
 *   -m 1/N      sampling, one packet in N;  -m N: the first after N ms
 *   -r MS       read timeout (200): half of it goes to the daemon
 *   -c N        end after N packets
 *   -t SECONDS  end after that time (10)
 *   -w FILE     write the packets
 *   -S          statistics: at the start, in the middle of -c, at the end
 *   -U USER -P PASSWORD
 *   -A PORT     active mode: wait for a daemon on that port first
 *
 * Says, a line each:
 *
 *   ready linktype=N                                 the capture runs
 *   stats ps_recv=N ps_drop=N ps_ifdrop=N when=W     W: start, middle, end
 *   filter packets=N                                 the filter was changed
 *   packets N end=WHY                                WHY: count, time, signal
 *
 * SIGINT and SIGTERM end the capture as -c does.
 */
#include "peer.h"

#include <signal.h>
#include <time.h>

static pcap_t *capture;
static pcap_dumper_t *dumper;
static unsigned long packets;
static volatile sig_atomic_t interrupted;

static void
on_signal(int number)
{
	(void)number;
	interrupted = 1;
	pcap_breakloop(capture);
}

static void
on_packet(u_char *user, const struct pcap_pkthdr *header, const u_char *data)
{
	(void)user;
	packets++;
	if (dumper != NULL)
		pcap_dump((u_char *)dumper, header, data);
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static unsigned long
number(const char *text, const char *what)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*text == '\0' || *end != '\0') {
		fprintf(stderr, "%s is not a number: %s\n", what, text);
		exit(2);
	}
	return value;
}

static void
set_filter(const char *filter)
{
	struct bpf_program program;

	if (pcap_compile(capture, &program, filter, 1,
	    PCAP_NETMASK_UNKNOWN) != 0)
		die("pcap_compile: %s", pcap_geterr(capture));
	if (pcap_setfilter(capture, &program) != 0)
		die("pcap_setfilter: %s", pcap_geterr(capture));
	pcap_freecode(&program);
}

static void
print_stats(const char *when)
{
	struct pcap_stat stats;

	if (pcap_stats(capture, &stats) != 0)
		die("pcap_stats: %s", pcap_geterr(capture));
	printf("stats ps_recv=%u ps_drop=%u ps_ifdrop=%u when=%s\n",
	    stats.ps_recv, stats.ps_drop, stats.ps_ifdrop, when);
	fflush(stdout);
}

static void
set_sampling(const char *sampling)
{
	struct pcap_samp *samp = pcap_setsampling(capture);

	if (strncmp(sampling, "1/", 2) == 0) {
		samp->method = PCAP_SAMP_1_EVERY_N;
		samp->value = (int)number(sampling + 2, "-m");
	} else {
		samp->method = PCAP_SAMP_FIRST_AFTER_N_MS;
		samp->value = (int)number(sampling, "-m");
	}
}

int
main(int argc, char **argv)
{
	const char *filter = NULL, *later = NULL, *file = NULL;
	const char *sampling = NULL, *user = NULL, *password = NULL;
	const char *active = NULL;
	unsigned long snaplen = 262144, count = 0, later_after = 0;
	unsigned long timeout = 200;
	double seconds = 10;
	int flags = PCAP_OPENFLAG_PROMISCUOUS, stats = 0, option;

	while ((option = getopt(argc, argv, "A:F:P:SU:c:f:m:npr:s:t:uw:")) != -1) {
		switch (option) {
		case 'A': active = optarg; break;
		case 'F':
			later = strchr(optarg, ':');
			if (later == NULL) {
				fprintf(stderr, "-F wants N:FILTER\n");
				return 2;
			}
			later_after = strtoul(optarg, NULL, 10);
			later++;
			break;
		case 'P': password = optarg; break;
		case 'S': stats = 1; break;
		case 'U': user = optarg; break;
		case 'c': count = number(optarg, "-c"); break;
		case 'f': filter = optarg; break;
		case 'm': sampling = optarg; break;
		case 'n': flags |= PCAP_OPENFLAG_NOCAPTURE_RPCAP; break;
		case 'p': flags &= ~PCAP_OPENFLAG_PROMISCUOUS; break;
		case 'r': timeout = number(optarg, "-r"); break;
		case 's': snaplen = number(optarg, "-s"); break;
		case 't': seconds = atof(optarg); break;
		case 'u': flags |= PCAP_OPENFLAG_DATATX_UDP; break;
		case 'w': file = optarg; break;
		default: return 2;
		}
	}
	if (argc - optind != 1) {
		fprintf(stderr, "usage: rpc-capture [options] "
		    "rpcap://HOST:PORT/DEVICE\n");
		return 2;
	}

	struct pcap_rmtauth auth = authentication(user, password);
	if (active != NULL)
		accept_daemon(active, &auth);

	char error[PCAP_ERRBUF_SIZE] = "";
	capture = pcap_open(argv[optind], (int)snaplen, flags, (int)timeout,
	    &auth, error);
	if (capture == NULL)
		die("pcap_open: %s", error);

	struct sigaction action = { .sa_handler = on_signal };
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);

	if (sampling != NULL)
		set_sampling(sampling);
	/* Without one libpcap sends "accept all", and a plen too short for it. */
	if (filter != NULL)
		set_filter(filter);
	if (file != NULL) {
		dumper = pcap_dump_open(capture, file);
		if (dumper == NULL)
			die("pcap_dump_open: %s", pcap_geterr(capture));
	}

	/*
	 * libpcap starts a remote capture in the first read. One that is broken
	 * before it begins does that, and only that.
	 */
	pcap_breakloop(capture);
	if (pcap_dispatch(capture, 1, on_packet, NULL) == PCAP_ERROR)
		die("pcap_dispatch: %s", pcap_geterr(capture));
	printf("ready linktype=%d\n", pcap_datalink(capture));
	fflush(stdout);
	if (stats)
		print_stats("start");

	double end = now() + seconds;
	const char *why = NULL;
	while (why == NULL) {
		/* Comes back without a packet after half of the timeout. */
		int result = pcap_dispatch(capture, 1, on_packet, NULL);

		if (result == PCAP_ERROR)
			die("pcap_dispatch: %s (after %lu packets)",
			    pcap_geterr(capture), packets);
		if (later != NULL && packets >= later_after) {
			set_filter(later);
			later = NULL;
			printf("filter packets=%lu\n", packets);
			fflush(stdout);
		}
		if (stats && result == 1 && count > 1 && packets == count / 2)
			print_stats("middle");
		if (count != 0 && packets >= count)
			why = "count";
		else if (interrupted)
			why = "signal";
		else if (now() >= end)
			why = "time";
	}

	if (stats)
		print_stats("end");
	if (dumper != NULL)
		pcap_dump_close(dumper);
	printf("packets %lu end=%s\n", packets, why);
	pcap_close(capture);
	return 0;
}
