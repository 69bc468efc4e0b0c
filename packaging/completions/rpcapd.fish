# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_rpcapd_global_optspecs
    string join \n f/config= s/save= b/bind= p/port= 4/ipv4-only l/allow= n/null-auth tls tls-cert= tls-key= tls-client-ca= users= pam pam-users= pam-groups= pam-service= windows-users= windows-groups= allow-cleartext-passwords a/active= v/active-only reconnect-after-close i/interface= devices= backend= filter= snaplen= bind-device= z/buffer= t/udpstr-mtu= latency= u/send-buffer= g/blocking-send allow-fragments y/dry-run c/threads= e/nice= m/queue-megabytes= k/queue-packets= S/log-statistics data-port= capture-own-traffic max-sessions= max-captures= max-memory= max-rate= max-cpu= replay= init-timeout= idle-timeout= message-timeout= user= sandbox= status-socket= metrics= d/daemon inetd pid-file= L/log= log-level= log-format= debug h/help V/version
end

function __fish_rpcapd_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_rpcapd_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_rpcapd_using_subcommand
    set -l cmd (__fish_rpcapd_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c rpcapd -n "__fish_rpcapd_needs_command" -s f -l config -d 'Read settings from a file too: toml if its name ends in .toml (rpcapd.toml(5)), otherwise the ini of ExtraHop\'s and libpcap\'s rpcapd. What the command line says wins; SIGHUP reads the file again' -r -F
complete -c rpcapd -n "__fish_rpcapd_needs_command" -s s -l save -d 'Save the settings to a file that loads back to the same, toml or ini by its name, and go on' -r -F
complete -c rpcapd -n "__fish_rpcapd_needs_command" -s b -l bind -d 'Name or address to listen on [default: all addresses, IPv4 and IPv6]' -r
complete -c rpcapd -n "__fish_rpcapd_needs_command" -s p -l port -d 'Port to listen on; 0 lets the system choose' -r
complete -c rpcapd -n "__fish_rpcapd_needs_command" -s l -l allow -d 'Hosts that may connect: names, addresses and prefixes such as 10.0.0.0/8, separated by commas, semicolons or spaces [default: everybody]' -r
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l tls-cert -d 'The certificate that clients are shown (PEM), with those that vouch for it behind it' -r -F
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l tls-key -d 'The certificate\'s key (PEM). Only its owner and group may be able to read it' -r -F
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l tls-client-ca -d 'Let in only clients that have a certificate which one in this file (PEM) vouches for' -r -F
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l users -d 'Let in those that this file names, with their passwords, or with certificates that --tls-client-ca takes (rpcapd user add). Only its owner may be able to read it, or, if that is root, the daemon\'s group' -r -F
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l pam-users -d 'Accounts that --pam lets in, separated by commas. Root has to be named' -r
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l pam-groups -d 'Groups whose members --pam lets in, separated by commas' -r
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l pam-service -d 'The service of --pam: a file in /etc/pam.d' -r
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l windows-users -d 'Accounts of Windows to let in, with their passwords, separated by commas: NAME or DOMAIN\\NAME. The built-in administrator has to be named. Names that the file of users has are let in as it says only. Windows only' -r
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l windows-groups -d 'Local groups of Windows whose members are let in the same way, separated by commas. Windows only' -r
complete -c rpcapd -n "__fish_rpcapd_needs_command" -s a -l active -d 'Collectors to call: HOST,PORT,ifname=NAME,ifaddr=PREFIX and so on with the next one. Without a port it is 2003; ifname and ifaddr, which may be left out, choose the interface that this collector may open. May be repeated' -r
complete -c rpcapd -n "__fish_rpcapd_needs_command" -s i -l interface -d 'The only interface that clients may open; first in their list, and marked there' -r
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l devices -d 'Devices that there are for clients: patterns with * and ?, separated by commas; ! before a pattern leaves devices out. "any" has to be named [default: all]' -r
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l backend -d 'By what means packets are captured. libpcap also has devices that are no network interfaces, such as nflog, usbmon and bluetooth, as far as this host has them' -r -f -a "af-packet\t'Linux\'s own ring of packets: the fastest'
libpcap\t'libpcap, or Npcap on Windows'"
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l filter -d 'A filter (pcap-filter(7)) that packets must pass besides the client\'s own' -r
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l snaplen -d 'Most bytes of each packet that a client may have [default: as it asks]' -r
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l bind-device -d 'The interface that connections to clients leave by [default: as the routes say]' -r
complete -c rpcapd -n "__fish_rpcapd_needs_command" -s z -l buffer -d 'Bytes of the kernel\'s capture buffer, for each capture' -r
complete -c rpcapd -n "__fish_rpcapd_needs_command" -s t -l udpstr-mtu -d 'Bytes of a UDP datagram that several packets share (udpstr), 256 to 65000; 0: one packet in each, as libpcap\'s clients expect. A datagram is never larger than the path takes [default: 1472 for collectors that are called and clients that ask for udpstr, 0 for others]' -r
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l latency -d 'Most milliseconds that a packet waits for others on this host' -r
complete -c rpcapd -n "__fish_rpcapd_needs_command" -s u -l send-buffer -d 'Bytes of a UDP data connection\'s send buffer; below 16384: the default' -r
complete -c rpcapd -n "__fish_rpcapd_needs_command" -s c -l threads -d '"single": one thread captures and sends; N: the same, on core N; A,B: one captures on core A, another one sends on core B; -1: on any core' -r
complete -c rpcapd -n "__fish_rpcapd_needs_command" -s e -l nice -d 'Nice values of the thread that captures and of the one that sends, 1000: leave it as it is' -r
complete -c rpcapd -n "__fish_rpcapd_needs_command" -s m -l queue-megabytes -d 'Millions of bytes between the thread that captures and the one that sends' -r
complete -c rpcapd -n "__fish_rpcapd_needs_command" -s k -l queue-packets -d 'Packets between the thread that captures and the one that sends; rounded up to a power of two, and at least a batch' -r
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l data-port -d 'Port to listen on for data connections, where the client opens them [default: any free one]' -r
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l max-sessions -d 'Most sessions at a time; connections beyond it are closed' -r
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l max-captures -d 'Most captures at a time; a client that asks for one more is told so [default: one for each session]' -r
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l max-memory -d 'Most bytes for packets of all captures together: their buffers (--buffer) and what waits to be sent. A capture that would take more is refused [default: no limit]' -r
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l max-rate -d 'Most that all captures together send: bits a second (bit, kbit, Mbit, Gbit), frames a second (pps, kpps, Mpps), or both, such as 100Mbit,20kpps; headers from Ethernet\'s on count. Packets beyond it are left out and counted [default: no limit]' -r
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l max-cpu -d 'Most CPU time of all threads that capture and send, in percent of one core, such as 25%. When it is used up, only one of 2, 4, 8 and so on flows is forwarded, and in the end nothing for the rest of a tenth of a second; packets left out are counted [default: no limit]' -r
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l replay -d 'Offer the packets of a savefile as a device, at the pace of their timestamps' -r
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l init-timeout -d 'Seconds that a client may take to authenticate' -r
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l idle-timeout -d 'Seconds that a client may stay silent while it captures nothing' -r
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l message-timeout -d 'Seconds that a message may take from its first byte to its last' -r
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l user -d 'The user to run as once everything is open; CAP_NET_RAW is kept, and nothing else. root: stay root, which is dangerous [default: if root starts it rpcapd, or nobody if there is no such user; otherwise who starts it]' -r
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l sandbox -d 'What becomes of files and system calls that the daemon has no need of, once it is open' -r -f -a "off\t'There is no sandbox'
log\t'System calls are made, and the kernel logs them'
enforce\t'They are refused, as far as this kernel can'"
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l status-socket -d 'The local socket that "rpcapd status" and "rpcapd reload" ask; "none": none [default: /run/rpcapd/rpcapd.sock for root, rpcapd.sock in $XDG_RUNTIME_DIR for others]' -r -F
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l metrics -d 'Serve metrics for Prometheus at http://ADDRESS:PORT/metrics' -r
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l pid-file -d 'A file for the daemon\'s process number; a second daemon with the same file does not start [default: with -d /run/rpcapd.pid for root, rpcapd.pid in $XDG_RUNTIME_DIR for others]' -r -F
complete -c rpcapd -n "__fish_rpcapd_needs_command" -s L -l log -d 'Where the log goes: stderr; journald; syslog, or the name of one of its facilities, such as local0 (in the foreground to standard error as well). -L alone: syslog, which on Windows is the event log [default: stderr; with -d syslog, and with --inetd where standard error is the client\'s connection]' -r
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l log-level -d 'How much is logged' -r -f -a "error\t'What needs somebody to act'
warn\t'And what went wrong for a client'
info\t'And what clients do'
debug\t'And what only a developer wants to know'"
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l log-format -d 'What a line of the log looks like' -r -f -a "text\t'A sentence, then names and values'
json\t'A JSON object'"
complete -c rpcapd -n "__fish_rpcapd_needs_command" -s 4 -l ipv4-only -d 'Use IPv4 only'
complete -c rpcapd -n "__fish_rpcapd_needs_command" -s n -l null-auth -d 'Let clients in that give no name and no password'
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l tls -d 'Encrypt connections (TLS 1.2 and 1.3), and refuse clients that do not'
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l pam -d 'Let in accounts of this host, with their passwords (PAM). Names that the file of users has are let in as it says only. Linux only'
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l allow-cleartext-passwords -d 'Take passwords over connections that are not encrypted, where others can read them'
complete -c rpcapd -n "__fish_rpcapd_needs_command" -s v -l active-only -d 'Call collectors only, listen for nobody'
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l reconnect-after-close -d 'Call a collector again that closed its session in good order'
complete -c rpcapd -n "__fish_rpcapd_needs_command" -s g -l blocking-send -d 'Wait for as long as it takes while a UDP data connection\'s send buffer is full, instead of giving a datagram up after 100 ms'
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l allow-fragments -d 'Let packets that do not fit into one datagram travel in fragments of IP, instead of cutting them off; concerns UDP with one packet in each datagram'
complete -c rpcapd -n "__fish_rpcapd_needs_command" -s y -l dry-run -d 'Capture and count, but send no packets'
complete -c rpcapd -n "__fish_rpcapd_needs_command" -s S -l log-statistics -d 'Log the statistics whenever a client asks for them: since it last asked, and in all'
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l capture-own-traffic -d 'Let captures contain the packets of this daemon\'s own connections'
complete -c rpcapd -n "__fish_rpcapd_needs_command" -s d -l daemon -d 'Run in the background, once everything that can fail has not. On Windows: be the service that the service manager starts'
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l inetd -d 'Serve the one client whose connection is standard input, as inetd starts it, then end'
complete -c rpcapd -n "__fish_rpcapd_needs_command" -l debug -d 'Log what only a developer wants to know: --log-level debug'
complete -c rpcapd -n "__fish_rpcapd_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rpcapd -n "__fish_rpcapd_needs_command" -s V -l version -d 'Print version'
complete -c rpcapd -n "__fish_rpcapd_needs_command" -f -a "check-config" -d 'Check a configuration file, and what it asks of this host'
complete -c rpcapd -n "__fish_rpcapd_needs_command" -f -a "print-config" -d 'Print the settings that these options and their file make, and where each is from, as a toml file; with -s save them as well'
complete -c rpcapd -n "__fish_rpcapd_needs_command" -f -a "tls" -d 'Make what TLS needs'
complete -c rpcapd -n "__fish_rpcapd_needs_command" -f -a "user" -d 'Manage those who may log in with a password'
complete -c rpcapd -n "__fish_rpcapd_needs_command" -f -a "status" -d 'Show what the daemon does: collectors, sessions, captures, devices, and every count'
complete -c rpcapd -n "__fish_rpcapd_needs_command" -f -a "reload" -d 'Have the daemon read its configuration again, and say what changed'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand check-config" -s h -l help -d 'Print help'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand check-config" -s V -l version -d 'Print version'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -s f -l config -d 'Read settings from a file too: toml if its name ends in .toml (rpcapd.toml(5)), otherwise the ini of ExtraHop\'s and libpcap\'s rpcapd. What the command line says wins; SIGHUP reads the file again' -r -F
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -s s -l save -d 'Save the settings to a file that loads back to the same, toml or ini by its name, and go on' -r -F
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -s b -l bind -d 'Name or address to listen on [default: all addresses, IPv4 and IPv6]' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -s p -l port -d 'Port to listen on; 0 lets the system choose' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -s l -l allow -d 'Hosts that may connect: names, addresses and prefixes such as 10.0.0.0/8, separated by commas, semicolons or spaces [default: everybody]' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l tls-cert -d 'The certificate that clients are shown (PEM), with those that vouch for it behind it' -r -F
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l tls-key -d 'The certificate\'s key (PEM). Only its owner and group may be able to read it' -r -F
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l tls-client-ca -d 'Let in only clients that have a certificate which one in this file (PEM) vouches for' -r -F
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l users -d 'Let in those that this file names, with their passwords, or with certificates that --tls-client-ca takes (rpcapd user add). Only its owner may be able to read it, or, if that is root, the daemon\'s group' -r -F
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l pam-users -d 'Accounts that --pam lets in, separated by commas. Root has to be named' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l pam-groups -d 'Groups whose members --pam lets in, separated by commas' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l pam-service -d 'The service of --pam: a file in /etc/pam.d' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l windows-users -d 'Accounts of Windows to let in, with their passwords, separated by commas: NAME or DOMAIN\\NAME. The built-in administrator has to be named. Names that the file of users has are let in as it says only. Windows only' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l windows-groups -d 'Local groups of Windows whose members are let in the same way, separated by commas. Windows only' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -s a -l active -d 'Collectors to call: HOST,PORT,ifname=NAME,ifaddr=PREFIX and so on with the next one. Without a port it is 2003; ifname and ifaddr, which may be left out, choose the interface that this collector may open. May be repeated' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -s i -l interface -d 'The only interface that clients may open; first in their list, and marked there' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l devices -d 'Devices that there are for clients: patterns with * and ?, separated by commas; ! before a pattern leaves devices out. "any" has to be named [default: all]' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l backend -d 'By what means packets are captured. libpcap also has devices that are no network interfaces, such as nflog, usbmon and bluetooth, as far as this host has them' -r -f -a "af-packet\t'Linux\'s own ring of packets: the fastest'
libpcap\t'libpcap, or Npcap on Windows'"
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l filter -d 'A filter (pcap-filter(7)) that packets must pass besides the client\'s own' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l snaplen -d 'Most bytes of each packet that a client may have [default: as it asks]' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l bind-device -d 'The interface that connections to clients leave by [default: as the routes say]' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -s z -l buffer -d 'Bytes of the kernel\'s capture buffer, for each capture' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -s t -l udpstr-mtu -d 'Bytes of a UDP datagram that several packets share (udpstr), 256 to 65000; 0: one packet in each, as libpcap\'s clients expect. A datagram is never larger than the path takes [default: 1472 for collectors that are called and clients that ask for udpstr, 0 for others]' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l latency -d 'Most milliseconds that a packet waits for others on this host' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -s u -l send-buffer -d 'Bytes of a UDP data connection\'s send buffer; below 16384: the default' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -s c -l threads -d '"single": one thread captures and sends; N: the same, on core N; A,B: one captures on core A, another one sends on core B; -1: on any core' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -s e -l nice -d 'Nice values of the thread that captures and of the one that sends, 1000: leave it as it is' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -s m -l queue-megabytes -d 'Millions of bytes between the thread that captures and the one that sends' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -s k -l queue-packets -d 'Packets between the thread that captures and the one that sends; rounded up to a power of two, and at least a batch' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l data-port -d 'Port to listen on for data connections, where the client opens them [default: any free one]' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l max-sessions -d 'Most sessions at a time; connections beyond it are closed' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l max-captures -d 'Most captures at a time; a client that asks for one more is told so [default: one for each session]' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l max-memory -d 'Most bytes for packets of all captures together: their buffers (--buffer) and what waits to be sent. A capture that would take more is refused [default: no limit]' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l max-rate -d 'Most that all captures together send: bits a second (bit, kbit, Mbit, Gbit), frames a second (pps, kpps, Mpps), or both, such as 100Mbit,20kpps; headers from Ethernet\'s on count. Packets beyond it are left out and counted [default: no limit]' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l max-cpu -d 'Most CPU time of all threads that capture and send, in percent of one core, such as 25%. When it is used up, only one of 2, 4, 8 and so on flows is forwarded, and in the end nothing for the rest of a tenth of a second; packets left out are counted [default: no limit]' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l replay -d 'Offer the packets of a savefile as a device, at the pace of their timestamps' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l init-timeout -d 'Seconds that a client may take to authenticate' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l idle-timeout -d 'Seconds that a client may stay silent while it captures nothing' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l message-timeout -d 'Seconds that a message may take from its first byte to its last' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l user -d 'The user to run as once everything is open; CAP_NET_RAW is kept, and nothing else. root: stay root, which is dangerous [default: if root starts it rpcapd, or nobody if there is no such user; otherwise who starts it]' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l sandbox -d 'What becomes of files and system calls that the daemon has no need of, once it is open' -r -f -a "off\t'There is no sandbox'
log\t'System calls are made, and the kernel logs them'
enforce\t'They are refused, as far as this kernel can'"
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l status-socket -d 'The local socket that "rpcapd status" and "rpcapd reload" ask; "none": none [default: /run/rpcapd/rpcapd.sock for root, rpcapd.sock in $XDG_RUNTIME_DIR for others]' -r -F
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l metrics -d 'Serve metrics for Prometheus at http://ADDRESS:PORT/metrics' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l pid-file -d 'A file for the daemon\'s process number; a second daemon with the same file does not start [default: with -d /run/rpcapd.pid for root, rpcapd.pid in $XDG_RUNTIME_DIR for others]' -r -F
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -s L -l log -d 'Where the log goes: stderr; journald; syslog, or the name of one of its facilities, such as local0 (in the foreground to standard error as well). -L alone: syslog, which on Windows is the event log [default: stderr; with -d syslog, and with --inetd where standard error is the client\'s connection]' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l log-level -d 'How much is logged' -r -f -a "error\t'What needs somebody to act'
warn\t'And what went wrong for a client'
info\t'And what clients do'
debug\t'And what only a developer wants to know'"
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l log-format -d 'What a line of the log looks like' -r -f -a "text\t'A sentence, then names and values'
json\t'A JSON object'"
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -s 4 -l ipv4-only -d 'Use IPv4 only'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -s n -l null-auth -d 'Let clients in that give no name and no password'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l tls -d 'Encrypt connections (TLS 1.2 and 1.3), and refuse clients that do not'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l pam -d 'Let in accounts of this host, with their passwords (PAM). Names that the file of users has are let in as it says only. Linux only'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l allow-cleartext-passwords -d 'Take passwords over connections that are not encrypted, where others can read them'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -s v -l active-only -d 'Call collectors only, listen for nobody'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l reconnect-after-close -d 'Call a collector again that closed its session in good order'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -s g -l blocking-send -d 'Wait for as long as it takes while a UDP data connection\'s send buffer is full, instead of giving a datagram up after 100 ms'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l allow-fragments -d 'Let packets that do not fit into one datagram travel in fragments of IP, instead of cutting them off; concerns UDP with one packet in each datagram'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -s y -l dry-run -d 'Capture and count, but send no packets'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -s S -l log-statistics -d 'Log the statistics whenever a client asks for them: since it last asked, and in all'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l capture-own-traffic -d 'Let captures contain the packets of this daemon\'s own connections'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -s d -l daemon -d 'Run in the background, once everything that can fail has not. On Windows: be the service that the service manager starts'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l inetd -d 'Serve the one client whose connection is standard input, as inetd starts it, then end'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -l debug -d 'Log what only a developer wants to know: --log-level debug'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand print-config" -s V -l version -d 'Print version'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand tls; and not __fish_seen_subcommand_from init" -s h -l help -d 'Print help'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand tls; and not __fish_seen_subcommand_from init" -s V -l version -d 'Print version'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand tls; and not __fish_seen_subcommand_from init" -f -a "init" -d 'Make a key, and a certificate that vouches for itself, and print its fingerprint'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand tls; and __fish_seen_subcommand_from init" -l directory -d 'Where cert.pem and key.pem are to be; none of them may be there' -r -F
complete -c rpcapd -n "__fish_rpcapd_using_subcommand tls; and __fish_seen_subcommand_from init" -l name -d 'A name or address that clients reach this host by. May be repeated [default: this host\'s name]' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand tls; and __fish_seen_subcommand_from init" -s h -l help -d 'Print help'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand tls; and __fish_seen_subcommand_from init" -s V -l version -d 'Print version'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand user; and not __fish_seen_subcommand_from add remove list" -s h -l help -d 'Print help'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand user; and not __fish_seen_subcommand_from add remove list" -s V -l version -d 'Print version'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand user; and not __fish_seen_subcommand_from add remove list" -f -a "add" -d 'Add a user, or change one. The password is asked for on the terminal; otherwise it is the first line of standard input'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand user; and not __fish_seen_subcommand_from add remove list" -f -a "remove" -d 'Remove a user'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand user; and not __fish_seen_subcommand_from add remove list" -f -a "list" -d 'List the users and what they may do'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand user; and __fish_seen_subcommand_from add" -l devices -d 'Devices that there are for the user, as --devices of the daemon has them [default: all that there are]' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand user; and __fish_seen_subcommand_from add" -l filter -d 'A filter (pcap-filter(7)) that packets must pass besides the user\'s own' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand user; and __fish_seen_subcommand_from add" -l snaplen -d 'Most bytes of each packet that the user may have' -r
complete -c rpcapd -n "__fish_rpcapd_using_subcommand user; and __fish_seen_subcommand_from add" -l users -d 'The file of users, as --users of the daemon has it' -r -F
complete -c rpcapd -n "__fish_rpcapd_using_subcommand user; and __fish_seen_subcommand_from add" -l certificate -d 'The user needs no password but a certificate that --tls-client-ca of the daemon takes; NAME is the first DNS name in its subjectAltName'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand user; and __fish_seen_subcommand_from add" -l pam -d 'The user has an account of this host, whose password is asked for by way of PAM; the name "*" is for all accounts that are not named'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand user; and __fish_seen_subcommand_from add" -s h -l help -d 'Print help'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand user; and __fish_seen_subcommand_from add" -s V -l version -d 'Print version'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand user; and __fish_seen_subcommand_from remove" -l users -d 'The file of users, as --users of the daemon has it' -r -F
complete -c rpcapd -n "__fish_rpcapd_using_subcommand user; and __fish_seen_subcommand_from remove" -s h -l help -d 'Print help'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand user; and __fish_seen_subcommand_from remove" -s V -l version -d 'Print version'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand user; and __fish_seen_subcommand_from list" -l users -d 'The file of users, as --users of the daemon has it' -r -F
complete -c rpcapd -n "__fish_rpcapd_using_subcommand user; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand user; and __fish_seen_subcommand_from list" -s V -l version -d 'Print version'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand status" -l status-socket -d 'Its local socket [default: /run/rpcapd/rpcapd.sock for root, rpcapd.sock in $XDG_RUNTIME_DIR for others]' -r -F
complete -c rpcapd -n "__fish_rpcapd_using_subcommand status" -l json -d 'Print JSON'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand status" -s h -l help -d 'Print help'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand status" -s V -l version -d 'Print version'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand reload" -l status-socket -d 'Its local socket [default: /run/rpcapd/rpcapd.sock for root, rpcapd.sock in $XDG_RUNTIME_DIR for others]' -r -F
complete -c rpcapd -n "__fish_rpcapd_using_subcommand reload" -s h -l help -d 'Print help'
complete -c rpcapd -n "__fish_rpcapd_using_subcommand reload" -s V -l version -d 'Print version'
