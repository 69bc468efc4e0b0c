/* The floor: the least that a program can do to read a TPACKET_V3 ring and send
 * the same bytes in the same batches as rpcapd. No ledger, no sampling, no
 * guard, one client, and no more of RPCAP than the benchmark's receiver needs.
 *
 *   floor -4 -n -b ADDRESS -p PORT [-t BYTES]     -t: udpstr; without: classic
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BLOCK = 512 << 10, BLOCKS = 32, BATCH = 256 << 10, MORE = 300 << 10 };
enum { DATAGRAMS = 16384, MESSAGES = 256, SEGMENTS = 64, PAYLOAD = 65507 };

static int control, ring_fd, data_fd = -1, mtu, udp;
static uint8_t *ring, out[BATCH + MORE];
static size_t used, start;        /* bytes of the batch; where the open datagram starts */
static size_t end_of[DATAGRAMS];  /* of each closed datagram */
static size_t closed;
static uint32_t seqno, npkt;
static int headless;

static void put16(uint8_t *p, uint16_t v) { v = htons(v); memcpy(p, &v, 2); }
static void put32(uint8_t *p, uint32_t v) { v = htonl(v); memcpy(p, &v, 4); }

static void send_datagrams(void) {
    static struct mmsghdr messages[MESSAGES];
    static struct iovec parts[MESSAGES];
    static union { struct cmsghdr head; char bytes[CMSG_SPACE(2)]; } extra[MESSAGES];
    size_t next = 0, begin = 0;
    while (next < closed) {
        int n = 0;
        for (; next < closed && n < MESSAGES; n++) {
            size_t size = end_of[next] - begin, stop = end_of[next++], count = 1;
            while (next < closed && count < SEGMENTS && end_of[next] - stop <= size
                   && end_of[next] - begin <= PAYLOAD) {
                size_t last = end_of[next] - stop;
                stop = end_of[next++];
                count++;
                if (last < size)
                    break;
            }
            parts[n] = (struct iovec){ out + begin, stop - begin };
            messages[n].msg_hdr = (struct msghdr){ .msg_iov = &parts[n], .msg_iovlen = 1 };
            if (count > 1) {
                uint16_t segment = size;
                extra[n].head = (struct cmsghdr){ CMSG_LEN(2), SOL_UDP, UDP_SEGMENT };
                memcpy(CMSG_DATA(&extra[n].head), &segment, 2);
                messages[n].msg_hdr.msg_control = &extra[n];
                messages[n].msg_hdr.msg_controllen = sizeof extra[n];
            }
            begin = stop;
        }
        for (int sent = 0; sent < n;) {
            int now = sendmmsg(data_fd, messages + sent, n - sent, 0);
            sent += now > 0 ? now : 1;
        }
    }
}

static void close_datagram(void) {
    end_of[closed++] = used;
    start = used;
}

static void flush(void) {
    if (udp && used > start)
        close_datagram();
    if (udp)
        send_datagrams();
    else
        for (size_t at = 0; at < used;) {
            ssize_t n = send(data_fd, out + at, used - at, MSG_NOSIGNAL);
            if (n <= 0)
                exit(0);
            at += n;
        }
    used = start = closed = 0;
}

static void open_datagram(uint16_t first) {
    out[used] = 0;
    out[used + 1] = 110;
    put16(out + used + 2, first);
    put32(out + used + 4, seqno++);
    used += 8;
    headless = first == 0xffff;
}

static void packet(const struct tpacket3_hdr *h) {
    const uint8_t *from = (const uint8_t *)h + h->tp_mac;
    size_t left = h->tp_snaplen;
    if (used >= BATCH || closed > DATAGRAMS - 2048)
        flush();
    if (mtu && used == start)
        open_datagram(8);
    else if (mtu && headless) {
        put16(out + start + 2, used - start);
        headless = 0;
    } else if (!mtu) {
        memcpy(out + used, "\0\7\0\0", 4);
        put32(out + used + 4, 20 + left);
        used += 8;
    }
    put32(out + used, h->tp_sec);
    put32(out + used + 4, h->tp_nsec / 1000);
    put32(out + used + 8, left);
    put32(out + used + 12, h->tp_len);
    put32(out + used + 16, ++npkt);
    used += 20;
    while (mtu && left > mtu - (used - start)) {
        size_t room = mtu - (used - start);
        memcpy(out + used, from, room);
        used += room, from += room, left -= room;
        close_datagram();
        open_datagram(0xffff);
    }
    memcpy(out + used, from, left);
    used += left;
    if (udp && (!mtu || used - start >= (size_t)mtu - 28))
        close_datagram();
}

static void reply(uint8_t type, const void *payload, uint32_t len) {
    uint8_t message[64] = { 0, type };
    put32(message + 4, len);
    memcpy(message + 8, payload, len);
    if (write(control, message, 8 + len) < 0)
        exit(0);
}

static void start_capture(const char *device, const uint8_t *request, struct sockaddr_in peer) {
    int version = TPACKET_V3, reserve = 4, index = if_nametoindex(device), big = 8 << 20;
    struct tpacket_req3 geometry = { .tp_block_size = BLOCK, .tp_block_nr = BLOCKS,
        .tp_frame_size = 2048, .tp_frame_nr = BLOCKS * (BLOCK / 2048), .tp_retire_blk_tov = 10 };
    struct sockaddr_ll where = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL),
        .sll_ifindex = index };
    struct packet_mreq promisc = { .mr_ifindex = index, .mr_type = PACKET_MR_PROMISC };
    uint16_t flags = request[8] << 8 | request[9], port = 0;
    uint8_t answer[8] = { 0 };

    ring_fd = socket(AF_PACKET, SOCK_RAW, 0);
    if (ring_fd < 0 || setsockopt(ring_fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version)
        || setsockopt(ring_fd, SOL_PACKET, PACKET_RESERVE, &reserve, sizeof reserve)
        || setsockopt(ring_fd, SOL_PACKET, PACKET_RX_RING, &geometry, sizeof geometry))
        err(1, "the ring of %s", device);
    ring = mmap(NULL, BLOCK * BLOCKS, PROT_READ | PROT_WRITE, MAP_SHARED, ring_fd, 0);
    if (ring == MAP_FAILED || bind(ring_fd, (void *)&where, sizeof where)
        || setsockopt(ring_fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promisc, sizeof promisc))
        err(1, "%s", device);

    udp = flags & 2;
    if (!udp)
        mtu = 0;
    data_fd = socket(AF_INET, udp ? SOCK_DGRAM : SOCK_STREAM, 0);
    if (udp) {
        int discover = IP_PMTUDISC_DO;
        peer.sin_port = htons(request[10] << 8 | request[11]);
        setsockopt(data_fd, SOL_SOCKET, SO_SNDBUFFORCE, &big, sizeof big);
        if (mtu)
            setsockopt(data_fd, IPPROTO_IP, IP_MTU_DISCOVER, &discover, sizeof discover);
        if (connect(data_fd, (void *)&peer, sizeof peer))
            err(1, "connect");
        put16(answer + 6, mtu ? 0x0100 : 0);
        reply(0x84, answer, 8);
    } else {
        struct sockaddr_in any = { .sin_family = AF_INET };
        socklen_t len = sizeof any;
        int listener = data_fd, on = 1;
        if (bind(listener, (void *)&any, sizeof any) || listen(listener, 1)
            || getsockname(listener, (void *)&any, &len))
            err(1, "listen");
        port = ntohs(any.sin_port);
        put16(answer + 4, port);
        reply(0x84, answer, 8);
        data_fd = accept(listener, NULL, NULL);
        close(listener);
        setsockopt(data_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
}

/* Takes what the kernel has given out. */
static void take_blocks(void) {
    static int at;
    for (;;) {
        struct tpacket_block_desc *block = (void *)(ring + (size_t)at * BLOCK);
        struct tpacket_hdr_v1 *head = &block->hdr.bh1;
        if (!(atomic_load_explicit((_Atomic uint32_t *)&head->block_status, memory_order_acquire)
              & TP_STATUS_USER))
            return;
        struct tpacket3_hdr *h = (void *)((uint8_t *)block + head->offset_to_first_pkt);
        for (uint32_t i = head->num_pkts; i > 0; i--) {
            packet(h);
            h = (void *)((uint8_t *)h + h->tp_next_offset);
        }
        atomic_store_explicit((_Atomic uint32_t *)&head->block_status, TP_STATUS_KERNEL,
                              memory_order_release);
        flush();
        at = (at + 1) % BLOCKS;
    }
}

/* Answers one request. */
static void request(struct sockaddr_in peer) {
    static uint8_t payload[65536];
    static char device[IF_NAMESIZE];
    static struct tpacket_stats_v3 stats, more;
    uint8_t head[8], answer[16] = { 0 };
    uint32_t len;
    if (recv(control, head, 8, MSG_WAITALL) != 8)
        exit(0);
    memcpy(&len, head + 4, 4);
    len = ntohl(len);
    if (len > sizeof payload || (len && recv(control, payload, len, MSG_WAITALL) != (ssize_t)len))
        exit(0);
    switch (head[1]) {
    case 3:
        memcpy(device, payload, len < sizeof device ? len : sizeof device - 1);
        put32(answer, 1);
        reply(0x83, answer, 8);
        break;
    case 4:
        start_capture(device, payload, peer);
        break;
    case 8:
        reply(0x88, answer, 0);
        break;
    case 9: {
        socklen_t size = sizeof more;
        if (ring_fd > 0 && !getsockopt(ring_fd, SOL_PACKET, PACKET_STATISTICS, &more, &size)) {
            stats.tp_packets += more.tp_packets;
            stats.tp_drops += more.tp_drops;
        }
        put32(answer, stats.tp_packets);
        put32(answer + 8, stats.tp_drops);
        put32(answer + 12, npkt);
        reply(0x89, answer, 16);
        break;
    }
    case 10:
        take_blocks();
        if (!udp)
            shutdown(data_fd, SHUT_WR);
        reply(0x8a, answer, 0);
        break;
    default:
        exit(0);
    }
}

int main(int argc, char **argv) {
    struct sockaddr_in address = { .sin_family = AF_INET }, peer;
    int option, on = 1;
    while ((option = getopt(argc, argv, "4nb:p:t:")) != -1)
        switch (option) {
        case 'b': inet_pton(AF_INET, optarg, &address.sin_addr); break;
        case 'p': address.sin_port = htons(atoi(optarg)); break;
        case 't': mtu = atoi(optarg); break;
        }
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (void *)&address, sizeof address) || listen(listener, 1))
        err(1, "listen");
    socklen_t len = sizeof peer;
    control = accept(listener, (void *)&peer, &len);
    setsockopt(control, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ring_fd = -1;
    for (;;) {
        struct pollfd fds[] = { { control, POLLIN, 0 }, { ring_fd, POLLIN, 0 } };
        poll(fds, 2, -1);
        if (fds[0].revents)
            request(peer);
        if (ring_fd >= 0)
            take_blocks();
    }
}
