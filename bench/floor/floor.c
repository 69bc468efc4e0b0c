/* The floor: the least that a program can do to read a TPACKET_V3 ring and send
 * the same bytes in the same batches as rpcapd. No ledger, no sampling, no
 * guard, one client, and no more of RPCAP than the benchmark's receiver needs.
 *
 *   floor -4 -n -b ADDRESS -p PORT [-t BYTES]
 *
 * -t: udpstr with datagrams of at most so many bytes, if the client takes UDP;
 * 0, or without it: one packet in each datagram. It ends with its client.
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

/* rpcapd's ring at its defaults, and its batches. LONGEST: a packet with all its headers. */
enum { BLOCK = 512 << 10, BLOCKS = 32, BATCH = 256 << 10, LONGEST = 300 << 10 };
enum { DATAGRAMS = 16384, CLASSIC = 1024, MESSAGES = 256, SEGMENTS = 64, PAYLOAD = 65507 };

static int control, ring_fd = -1, data_fd = -1, udp;
static size_t mtu, longest = SIZE_MAX; /* of a udpstr datagram; of a packet in PACKET */
static uint8_t *ring, out[BATCH + LONGEST];
static size_t used, start;       /* bytes of the batch; where its open datagram starts */
static size_t end_of[DATAGRAMS]; /* of each closed datagram */
static size_t closed;
static uint32_t seqno, npkt;
static int headless; /* no packet starts in the open datagram so far */

static void put16(uint8_t *p, uint16_t v) { v = htons(v); memcpy(p, &v, 2); }
static void put32(uint8_t *p, uint32_t v) { v = htonl(v); memcpy(p, &v, 4); }
static uint16_t get16(const uint8_t *p) { return p[0] << 8 | p[1]; }
static uint32_t get32(const uint8_t *p) { return (uint32_t)get16(p) << 16 | get16(p + 2); }

/* Equal datagrams in a row, the last of which may be shorter, are one message. */
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
    size_t left = h->tp_snaplen < longest ? h->tp_snaplen : longest;
    if (mtu ? used >= BATCH : used && (used + 28 + left > BATCH || closed == CLASSIC))
        flush();
    if (!mtu) {
        memcpy(out + used, "\0\7\0\0", 4);
        put32(out + used + 4, 20 + left);
        used += 8;
    } else if (used == start) {
        open_datagram(8);
    } else if (headless) {
        put16(out + start + 2, used - start);
        headless = 0;
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
    if (udp && (!mtu || used - start >= mtu - 28))
        close_datagram();
}

static void reply(uint8_t type, const void *payload, uint32_t len) {
    uint8_t message[64] = { 0, type };
    put32(message + 4, len);
    memcpy(message + 8, payload, len);
    if (write(control, message, 8 + len) < 0)
        exit(0);
}

/* The filter of a STARTCAP: what the client sent, or nothing. */
static void attach(const uint8_t *filter) {
    static struct sock_filter code[BPF_MAXINSNS];
    uint32_t n = get32(filter + 4);
    struct sock_fprog program = { n, code };
    if (n == 0 || n > BPF_MAXINSNS)
        return;
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *from = filter + 8 + 8 * i;
        code[i] = (struct sock_filter){ get16(from), from[2], from[3], get32(from + 4) };
    }
    if (setsockopt(ring_fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program))
        err(1, "the filter");
}

static void open_ring(const char *device, const uint8_t *request) {
    int version = TPACKET_V3, reserve = 4, index = if_nametoindex(device);
    struct tpacket_req3 geometry = { .tp_block_size = BLOCK, .tp_block_nr = BLOCKS,
        .tp_frame_size = 2048, .tp_frame_nr = BLOCKS * (BLOCK / 2048), .tp_retire_blk_tov = 10 };
    struct sockaddr_ll where = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL),
        .sll_ifindex = index };
    struct packet_mreq promisc = { .mr_ifindex = index, .mr_type = PACKET_MR_PROMISC };

    ring_fd = socket(AF_PACKET, SOCK_RAW, 0);
    if (ring_fd < 0 || setsockopt(ring_fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version)
        || setsockopt(ring_fd, SOL_PACKET, PACKET_RESERVE, &reserve, sizeof reserve)
        || setsockopt(ring_fd, SOL_PACKET, PACKET_RX_RING, &geometry, sizeof geometry))
        err(1, "the ring of %s", device);
    attach(request + 12);
    ring = mmap(NULL, BLOCK * BLOCKS, PROT_READ | PROT_WRITE, MAP_SHARED, ring_fd, 0);
    if (ring == MAP_FAILED || bind(ring_fd, (void *)&where, sizeof where)
        || setsockopt(ring_fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promisc, sizeof promisc))
        err(1, "%s", device);
}

/* Datagrams to the client's port, none larger than the path takes. */
static void open_datagrams(struct sockaddr_in peer, uint16_t port) {
    int discover = IP_PMTUDISC_DO, big = 8 << 20, path;
    uint8_t answer[8] = { 0 };
    socklen_t len = sizeof path;

    peer.sin_port = htons(port);
    data_fd = socket(AF_INET, SOCK_DGRAM, 0);
    setsockopt(data_fd, SOL_SOCKET, SO_SNDBUFFORCE, &big, sizeof big);
    setsockopt(data_fd, IPPROTO_IP, IP_MTU_DISCOVER, &discover, sizeof discover);
    if (connect(data_fd, (void *)&peer, sizeof peer)
        || getsockopt(data_fd, IPPROTO_IP, IP_MTU, &path, &len))
        err(1, "the data connection");
    size_t most = path - 28 < PAYLOAD ? path - 28 : PAYLOAD;
    mtu = mtu < most ? mtu : most;
    longest = mtu ? SIZE_MAX : most - 28;
    put16(answer + 6, mtu ? 0x0100 : 0);
    reply(0x84, answer, 8);
}

static void open_stream(void) {
    struct sockaddr_in any = { .sin_family = AF_INET };
    socklen_t len = sizeof any;
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    uint8_t answer[8] = { 0 };

    mtu = 0;
    if (bind(listener, (void *)&any, sizeof any) || listen(listener, 1)
        || getsockname(listener, (void *)&any, &len))
        err(1, "the data connection");
    memcpy(answer + 4, &any.sin_port, 2);
    reply(0x84, answer, 8);
    data_fd = accept(listener, NULL, NULL);
    close(listener);
    setsockopt(data_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
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

/* STATS; the kernel's counters begin anew each time they are read. */
static void statistics(void) {
    static uint32_t received, dropped;
    struct tpacket_stats_v3 more;
    socklen_t len = sizeof more;
    uint8_t answer[16] = { 0 };
    if (ring_fd >= 0 && !getsockopt(ring_fd, SOL_PACKET, PACKET_STATISTICS, &more, &len)) {
        received += more.tp_packets;
        dropped += more.tp_drops;
    }
    put32(answer, received);
    put32(answer + 8, dropped);
    put32(answer + 12, npkt);
    reply(0x89, answer, 16);
}

/* Answers one request. */
static void request(struct sockaddr_in peer) {
    static uint8_t payload[1 << 17];
    static char device[IF_NAMESIZE];
    uint8_t head[8], answer[8] = { 0 };
    if (recv(control, head, 8, MSG_WAITALL) != 8)
        exit(0);
    uint32_t len = get32(head + 4);
    if (len > 1 << 16 || (len && recv(control, payload, len, MSG_WAITALL) != (ssize_t)len))
        exit(0);
    switch (head[1]) {
    case 3:
        memcpy(device, payload, len < sizeof device ? len : sizeof device - 1);
        put32(answer, 1); /* Ethernet */
        reply(0x83, answer, 8);
        break;
    case 4:
        open_ring(device, payload);
        udp = payload[9] & 2;
        if (udp)
            open_datagrams(peer, get16(payload + 10));
        else
            open_stream();
        break;
    case 8:
        reply(0x88, answer, 0);
        break;
    case 9:
        statistics();
        break;
    case 10:
        take_blocks();
        shutdown(data_fd, SHUT_WR);
        reply(0x8a, answer, 0);
        /* What comes now is for nobody; the counters are asked for once more. */
        ring = NULL;
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
    for (;;) {
        struct pollfd fds[] = { { ring ? ring_fd : -1, POLLIN, 0 }, { control, POLLIN, 0 } };
        poll(fds, 2, -1);
        if (fds[1].revents)
            request(peer);
        if (ring)
            take_blocks();
    }
}
