/*
 * Lists the devices of a daemon as libpcap's pcap_findalldevs_ex gives them.
 *
 *   rpc-devices [-A port] [-U user -P password] rpcap://HOST:PORT/
 *
 * One line per device, fields apart by a tab:
 *
 *   name  description  flags  address...
 *
 * name is the whole URL that pcap_open takes; flags is hexadecimal, with 0x;
 * an address is addr/netmask/broadcast/destination with "-" for what is not
 * there. A device without addresses has three fields. -A is active mode: wait
 * for a daemon on that port first.
 */
#include "peer.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

static const char *
text(const struct sockaddr *address, char *buffer, size_t size)
{
	socklen_t length;

	if (address == NULL)
		return "-";
	switch (address->sa_family) {
	case AF_INET:
		length = sizeof(struct sockaddr_in);
		break;
	case AF_INET6:
		length = sizeof(struct sockaddr_in6);
		break;
	default:
		snprintf(buffer, size, "family%d", address->sa_family);
		return buffer;
	}
	if (getnameinfo(address, length, buffer, size, NULL, 0,
	    NI_NUMERICHOST) != 0)
		return "?";
	return buffer;
}

int
main(int argc, char **argv)
{
	const char *user = NULL, *password = NULL, *active = NULL;
	int option;

	while ((option = getopt(argc, argv, "A:P:U:")) != -1) {
		switch (option) {
		case 'A': active = optarg; break;
		case 'P': password = optarg; break;
		case 'U': user = optarg; break;
		default: return 2;
		}
	}
	if (argc - optind != 1) {
		fprintf(stderr, "usage: rpc-devices [-A port] "
		    "[-U user -P password] URL\n");
		return 2;
	}

	struct pcap_rmtauth auth = authentication(user, password);
	if (active != NULL)
		accept_daemon(active, &auth);

	char error[PCAP_ERRBUF_SIZE] = "";
	pcap_if_t *devices;
	if (pcap_findalldevs_ex(argv[optind], &auth, &devices, error) != 0)
		die("pcap_findalldevs_ex: %s", error);

	for (const pcap_if_t *device = devices; device != NULL;
	    device = device->next) {
		printf("%s\t%s\t0x%08x", device->name,
		    device->description != NULL ? device->description : "",
		    device->flags);
		for (const pcap_addr_t *a = device->addresses; a != NULL;
		    a = a->next) {
			char addr[NI_MAXHOST], mask[NI_MAXHOST];
			char broad[NI_MAXHOST], dest[NI_MAXHOST];

			printf("\t%s/%s/%s/%s",
			    text(a->addr, addr, sizeof addr),
			    text(a->netmask, mask, sizeof mask),
			    text(a->broadaddr, broad, sizeof broad),
			    text(a->dstaddr, dest, sizeof dest));
		}
		putchar('\n');
	}
	pcap_freealldevs(devices);
	return 0;
}
