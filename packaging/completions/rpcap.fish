# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_rpcap_global_optspecs
    string join \n h/help V/version
end

function __fish_rpcap_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_rpcap_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_rpcap_using_subcommand
    set -l cmd (__fish_rpcap_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c rpcap -n "__fish_rpcap_needs_command" -s h -l help -d 'Print help'
complete -c rpcap -n "__fish_rpcap_needs_command" -s V -l version -d 'Print version'
complete -c rpcap -n "__fish_rpcap_needs_command" -f -a "devices" -d 'List the devices of a daemon'
complete -c rpcap -n "__fish_rpcap_needs_command" -f -a "capture" -d 'Capture from a device of a daemon'
complete -c rpcap -n "__fish_rpcap_needs_command" -f -a "listen" -d 'Collect packets from daemons that connect by themselves (active mode)'
complete -c rpcap -n "__fish_rpcap_needs_command" -f -a "demo" -d 'Show that it works: start rpcapd on this host, capture real packets through it'
complete -c rpcap -n "__fish_rpcap_needs_command" -f -a "extcap" -d 'Capture from within Wireshark and tshark'
complete -c rpcap -n "__fish_rpcap_needs_command" -f -a "read" -d 'Find packets in files again'
complete -c rpcap -n "__fish_rpcap_needs_command" -f -a "merge" -d 'Put packets of several files in the order of their times'
complete -c rpcap -n "__fish_rpcap_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rpcap -n "__fish_rpcap_using_subcommand devices" -l timeout -d 'How long to wait for a connection and for every answer' -r
complete -c rpcap -n "__fish_rpcap_using_subcommand devices" -l user -d 'Authenticate as this user; the password comes from RPCAP_PASSWORD, --password-file, or the terminal, and goes over the network unencrypted without TLS' -r
complete -c rpcap -n "__fish_rpcap_using_subcommand devices" -l password-file -d 'A file whose first line is the password' -r -F
complete -c rpcap -n "__fish_rpcap_using_subcommand devices" -l tls-ca -d 'Trust daemons whose certificate is for the name in the URL and was made by a CA whose own is in this file (PEM), instead of those that the system trusts' -r -F
complete -c rpcap -n "__fish_rpcap_using_subcommand devices" -l tls-fingerprint -d 'Trust the daemon whose certificate has this fingerprint, as `rpcapd tls init` printed it, whatever else the certificate says; may be repeated' -r
complete -c rpcap -n "__fish_rpcap_using_subcommand devices" -l tls-cert -d 'A certificate (PEM) to show to a daemon that wants one' -r -F
complete -c rpcap -n "__fish_rpcap_using_subcommand devices" -l tls-key -d 'The key (PEM) of that certificate' -r -F
complete -c rpcap -n "__fish_rpcap_using_subcommand devices" -l json -d 'Print JSON'
complete -c rpcap -n "__fish_rpcap_using_subcommand devices" -l tls-insecure -d 'Trust whoever answers: what is encrypted may be encrypted for somebody else'
complete -c rpcap -n "__fish_rpcap_using_subcommand devices" -s h -l help -d 'Print help'
complete -c rpcap -n "__fish_rpcap_using_subcommand devices" -s V -l version -d 'Print version'
complete -c rpcap -n "__fish_rpcap_using_subcommand capture" -s f -l filter -d 'Which packets, in tcpdump\'s language (see pcap-filter(7)); needs libpcap' -r
complete -c rpcap -n "__fish_rpcap_using_subcommand capture" -l filter-bytecode -d 'Which packets, as bytecode: what `tcpdump -ddd` prints, or @ and a file that holds it' -r
complete -c rpcap -n "__fish_rpcap_using_subcommand capture" -s w -l write -d 'Write packets to a file: pcapng, or pcap if it is called .pcap; - for standard output' -r -F
complete -c rpcap -n "__fish_rpcap_using_subcommand capture" -l to -d 'Give packets to others while they come: interface:NAME (a virtual interface), pcap-over-ip:ADDRESS:PORT (whoever connects there), pcap-over-ip-connect:HOST:PORT, pipe:PATH, exec:COMMAND (its standard input), vxlan:HOST[,vni=N], directory:DIR; may be repeated' -r
complete -c rpcap -n "__fish_rpcap_using_subcommand capture" -l repair -d 'Make packets what they are on the wire: checksums that the sender left to its card, segments of those that are larger than the MTU [default: none, and checksums,segments for --to interface:NAME]' -r
complete -c rpcap -n "__fish_rpcap_using_subcommand capture" -s s -l snaplen -d 'Most bytes of a packet' -r
complete -c rpcap -n "__fish_rpcap_using_subcommand capture" -s c -l count -d 'End after this many packets' -r
complete -c rpcap -n "__fish_rpcap_using_subcommand capture" -l duration -d 'End after this time: seconds, or with a unit, such as 500ms, 10s, 5m, 1h' -r
complete -c rpcap -n "__fish_rpcap_using_subcommand capture" -l sample -d 'Take one packet of N, or the first in every so many milliseconds' -r
complete -c rpcap -n "__fish_rpcap_using_subcommand capture" -l timeout -d 'How long to wait for a connection and for every answer' -r
complete -c rpcap -n "__fish_rpcap_using_subcommand capture" -l user -d 'Authenticate as this user; the password comes from RPCAP_PASSWORD, --password-file, or the terminal, and goes over the network unencrypted without TLS' -r
complete -c rpcap -n "__fish_rpcap_using_subcommand capture" -l password-file -d 'A file whose first line is the password' -r -F
complete -c rpcap -n "__fish_rpcap_using_subcommand capture" -l tls-ca -d 'Trust daemons whose certificate is for the name in the URL and was made by a CA whose own is in this file (PEM), instead of those that the system trusts' -r -F
complete -c rpcap -n "__fish_rpcap_using_subcommand capture" -l tls-fingerprint -d 'Trust the daemon whose certificate has this fingerprint, as `rpcapd tls init` printed it, whatever else the certificate says; may be repeated' -r
complete -c rpcap -n "__fish_rpcap_using_subcommand capture" -l tls-cert -d 'A certificate (PEM) to show to a daemon that wants one' -r -F
complete -c rpcap -n "__fish_rpcap_using_subcommand capture" -l tls-key -d 'The key (PEM) of that certificate' -r -F
complete -c rpcap -n "__fish_rpcap_using_subcommand capture" -l udp -d 'Have packets sent by UDP: loss on the way instead of waiting, and counted'
complete -c rpcap -n "__fish_rpcap_using_subcommand capture" -l no-promisc -d 'Take only packets that are meant for the daemon\'s host'
complete -c rpcap -n "__fish_rpcap_using_subcommand capture" -l inbound -d 'Take only packets that come into the daemon\'s host'
complete -c rpcap -n "__fish_rpcap_using_subcommand capture" -l outbound -d 'Take only packets that leave the daemon\'s host'
complete -c rpcap -n "__fish_rpcap_using_subcommand capture" -s q -l quiet -d 'Say nothing but errors'
complete -c rpcap -n "__fish_rpcap_using_subcommand capture" -l tls-insecure -d 'Trust whoever answers: what is encrypted may be encrypted for somebody else'
complete -c rpcap -n "__fish_rpcap_using_subcommand capture" -s h -l help -d 'Print help'
complete -c rpcap -n "__fish_rpcap_using_subcommand capture" -s V -l version -d 'Print version'
complete -c rpcap -n "__fish_rpcap_using_subcommand listen" -s b -l bind -d 'Address to listen on; may be repeated [default: all, IPv4 and IPv6]' -r
complete -c rpcap -n "__fish_rpcap_using_subcommand listen" -s p -l port -d 'TCP port that daemons connect to; 0 for any free one' -r
complete -c rpcap -n "__fish_rpcap_using_subcommand listen" -l data-port -d 'UDP port that all daemons send packets to; 0 for any free one' -r
complete -c rpcap -n "__fish_rpcap_using_subcommand listen" -l receivers -d 'Threads that receive datagrams; more than one on Linux only [default: one for each core, at most 4]' -r
complete -c rpcap -n "__fish_rpcap_using_subcommand listen" -l max-agents -d 'Most daemons at a time; further ones are turned away' -r
complete -c rpcap -n "__fish_rpcap_using_subcommand listen" -l status -d 'Serve the status as JSON on a local socket: whoever connects is given it' -r -F
complete -c rpcap -n "__fish_rpcap_using_subcommand listen" -l metrics -d 'Serve OpenMetrics over HTTP at this address, such as 127.0.0.1:9090' -r
complete -c rpcap -n "__fish_rpcap_using_subcommand listen" -l http -d 'Serve a page that shows all of it, and its API, at this address, such as 127.0.0.1:8080, or at unix:PATH, a local socket; what others can reach needs [http] in the policy' -r
complete -c rpcap -n "__fish_rpcap_using_subcommand listen" -l timeout -d 'How long a daemon may take for an answer' -r
complete -c rpcap -n "__fish_rpcap_using_subcommand listen" -l example -d 'Print a policy that has everything that can be said, with explanations, and end'
complete -c rpcap -n "__fish_rpcap_using_subcommand listen" -l check -d 'Read the policy, say what is wrong with it, and end'
complete -c rpcap -n "__fish_rpcap_using_subcommand listen" -l no-table -d 'Show no table of agents, even on a terminal'
complete -c rpcap -n "__fish_rpcap_using_subcommand listen" -s h -l help -d 'Print help'
complete -c rpcap -n "__fish_rpcap_using_subcommand listen" -s V -l version -d 'Print version'
complete -c rpcap -n "__fish_rpcap_using_subcommand demo" -s o -l output -d 'Where to put the packets' -r -F
complete -c rpcap -n "__fish_rpcap_using_subcommand demo" -l replay -d 'Serve the shipped capture file, even where real traffic could be made'
complete -c rpcap -n "__fish_rpcap_using_subcommand demo" -s h -l help -d 'Print help'
complete -c rpcap -n "__fish_rpcap_using_subcommand demo" -s V -l version -d 'Print version'
complete -c rpcap -n "__fish_rpcap_using_subcommand extcap; and not __fish_seen_subcommand_from install uninstall refresh help" -s h -l help -d 'Print help'
complete -c rpcap -n "__fish_rpcap_using_subcommand extcap; and not __fish_seen_subcommand_from install uninstall refresh help" -s V -l version -d 'Print version'
complete -c rpcap -n "__fish_rpcap_using_subcommand extcap; and not __fish_seen_subcommand_from install uninstall refresh help" -f -a "install" -d 'Put a link to this program where Wireshark looks for capture programs'
complete -c rpcap -n "__fish_rpcap_using_subcommand extcap; and not __fish_seen_subcommand_from install uninstall refresh help" -f -a "uninstall" -d 'Take it away again'
complete -c rpcap -n "__fish_rpcap_using_subcommand extcap; and not __fish_seen_subcommand_from install uninstall refresh help" -f -a "refresh" -d 'Ask the known hosts for their devices now'
complete -c rpcap -n "__fish_rpcap_using_subcommand extcap; and not __fish_seen_subcommand_from install uninstall refresh help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rpcap -n "__fish_rpcap_using_subcommand extcap; and __fish_seen_subcommand_from install" -l directory -d 'In this folder, instead of the one that `tshark -G folders` names' -r -F
complete -c rpcap -n "__fish_rpcap_using_subcommand extcap; and __fish_seen_subcommand_from install" -l system -d 'For all users of this host, instead of for oneself'
complete -c rpcap -n "__fish_rpcap_using_subcommand extcap; and __fish_seen_subcommand_from install" -s h -l help -d 'Print help'
complete -c rpcap -n "__fish_rpcap_using_subcommand extcap; and __fish_seen_subcommand_from install" -s V -l version -d 'Print version'
complete -c rpcap -n "__fish_rpcap_using_subcommand extcap; and __fish_seen_subcommand_from uninstall" -l directory -d 'In this folder, instead of the one that `tshark -G folders` names' -r -F
complete -c rpcap -n "__fish_rpcap_using_subcommand extcap; and __fish_seen_subcommand_from uninstall" -l system -d 'For all users of this host, instead of for oneself'
complete -c rpcap -n "__fish_rpcap_using_subcommand extcap; and __fish_seen_subcommand_from uninstall" -s h -l help -d 'Print help'
complete -c rpcap -n "__fish_rpcap_using_subcommand extcap; and __fish_seen_subcommand_from uninstall" -s V -l version -d 'Print version'
complete -c rpcap -n "__fish_rpcap_using_subcommand extcap; and __fish_seen_subcommand_from refresh" -s q -l quiet -d 'Say nothing'
complete -c rpcap -n "__fish_rpcap_using_subcommand extcap; and __fish_seen_subcommand_from refresh" -s h -l help -d 'Print help'
complete -c rpcap -n "__fish_rpcap_using_subcommand extcap; and __fish_seen_subcommand_from refresh" -s V -l version -d 'Print version'
complete -c rpcap -n "__fish_rpcap_using_subcommand extcap; and __fish_seen_subcommand_from help" -f -a "install" -d 'Put a link to this program where Wireshark looks for capture programs'
complete -c rpcap -n "__fish_rpcap_using_subcommand extcap; and __fish_seen_subcommand_from help" -f -a "uninstall" -d 'Take it away again'
complete -c rpcap -n "__fish_rpcap_using_subcommand extcap; and __fish_seen_subcommand_from help" -f -a "refresh" -d 'Ask the known hosts for their devices now'
complete -c rpcap -n "__fish_rpcap_using_subcommand extcap; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rpcap -n "__fish_rpcap_using_subcommand read" -s f -l filter -d 'Which packets, in tcpdump\'s language (see pcap-filter(7)); needs libpcap' -r
complete -c rpcap -n "__fish_rpcap_using_subcommand read" -l since -d 'Packets from this time on: 2026-11-27T10:00:00Z, "2026-11-27 10:00", 2026-11-27, 10:00 (today), or -1h (before now); in UTC unless another zone is named' -r
complete -c rpcap -n "__fish_rpcap_using_subcommand read" -l until -d 'Packets before this time' -r
complete -c rpcap -n "__fish_rpcap_using_subcommand read" -l agent -d 'Packets of interfaces whose name, or whose agent\'s, is like this; * and ? stand for any characters, and it may be repeated. Files of `rpcap listen` have names such as "192.0.2.7 eth0"' -r
complete -c rpcap -n "__fish_rpcap_using_subcommand read" -s c -l count -d 'End after this many packets' -r
complete -c rpcap -n "__fish_rpcap_using_subcommand read" -s w -l write -d 'Write packets to a file: pcapng, or pcap if it is called .pcap; - for standard output' -r -F
complete -c rpcap -n "__fish_rpcap_using_subcommand read" -l date -d 'Begin each line with the date'
complete -c rpcap -n "__fish_rpcap_using_subcommand read" -l names -d 'Put the name of the packet\'s interface into each line, such as "192.0.2.7 eth0"'
complete -c rpcap -n "__fish_rpcap_using_subcommand read" -l no-index -d 'Read all of every file, whatever its index says'
complete -c rpcap -n "__fish_rpcap_using_subcommand read" -s q -l quiet -d 'Say nothing but errors'
complete -c rpcap -n "__fish_rpcap_using_subcommand read" -s h -l help -d 'Print help'
complete -c rpcap -n "__fish_rpcap_using_subcommand read" -s V -l version -d 'Print version'
complete -c rpcap -n "__fish_rpcap_using_subcommand merge" -s f -l filter -d 'Which packets, in tcpdump\'s language (see pcap-filter(7)); needs libpcap' -r
complete -c rpcap -n "__fish_rpcap_using_subcommand merge" -l since -d 'Packets from this time on: 2026-11-27T10:00:00Z, "2026-11-27 10:00", 2026-11-27, 10:00 (today), or -1h (before now); in UTC unless another zone is named' -r
complete -c rpcap -n "__fish_rpcap_using_subcommand merge" -l until -d 'Packets before this time' -r
complete -c rpcap -n "__fish_rpcap_using_subcommand merge" -l agent -d 'Packets of interfaces whose name, or whose agent\'s, is like this; * and ? stand for any characters, and it may be repeated. Files of `rpcap listen` have names such as "192.0.2.7 eth0"' -r
complete -c rpcap -n "__fish_rpcap_using_subcommand merge" -s c -l count -d 'End after this many packets' -r
complete -c rpcap -n "__fish_rpcap_using_subcommand merge" -s w -l write -d 'Write packets to a file: pcapng, or pcap if it is called .pcap; - for standard output' -r -F
complete -c rpcap -n "__fish_rpcap_using_subcommand merge" -l window -d 'How much later than others a packet may stand in its file and still be put in order' -r
complete -c rpcap -n "__fish_rpcap_using_subcommand merge" -l date -d 'Begin each line with the date'
complete -c rpcap -n "__fish_rpcap_using_subcommand merge" -l names -d 'Put the name of the packet\'s interface into each line, such as "192.0.2.7 eth0"'
complete -c rpcap -n "__fish_rpcap_using_subcommand merge" -l no-index -d 'Read all of every file, whatever its index says'
complete -c rpcap -n "__fish_rpcap_using_subcommand merge" -s q -l quiet -d 'Say nothing but errors'
complete -c rpcap -n "__fish_rpcap_using_subcommand merge" -l no-clock -d 'Leave timestamps as they are'
complete -c rpcap -n "__fish_rpcap_using_subcommand merge" -s h -l help -d 'Print help'
complete -c rpcap -n "__fish_rpcap_using_subcommand merge" -s V -l version -d 'Print version'
complete -c rpcap -n "__fish_rpcap_using_subcommand help; and not __fish_seen_subcommand_from devices capture listen demo extcap read merge help" -f -a "devices" -d 'List the devices of a daemon'
complete -c rpcap -n "__fish_rpcap_using_subcommand help; and not __fish_seen_subcommand_from devices capture listen demo extcap read merge help" -f -a "capture" -d 'Capture from a device of a daemon'
complete -c rpcap -n "__fish_rpcap_using_subcommand help; and not __fish_seen_subcommand_from devices capture listen demo extcap read merge help" -f -a "listen" -d 'Collect packets from daemons that connect by themselves (active mode)'
complete -c rpcap -n "__fish_rpcap_using_subcommand help; and not __fish_seen_subcommand_from devices capture listen demo extcap read merge help" -f -a "demo" -d 'Show that it works: start rpcapd on this host, capture real packets through it'
complete -c rpcap -n "__fish_rpcap_using_subcommand help; and not __fish_seen_subcommand_from devices capture listen demo extcap read merge help" -f -a "extcap" -d 'Capture from within Wireshark and tshark'
complete -c rpcap -n "__fish_rpcap_using_subcommand help; and not __fish_seen_subcommand_from devices capture listen demo extcap read merge help" -f -a "read" -d 'Find packets in files again'
complete -c rpcap -n "__fish_rpcap_using_subcommand help; and not __fish_seen_subcommand_from devices capture listen demo extcap read merge help" -f -a "merge" -d 'Put packets of several files in the order of their times'
complete -c rpcap -n "__fish_rpcap_using_subcommand help; and not __fish_seen_subcommand_from devices capture listen demo extcap read merge help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rpcap -n "__fish_rpcap_using_subcommand help; and __fish_seen_subcommand_from extcap" -f -a "install" -d 'Put a link to this program where Wireshark looks for capture programs'
complete -c rpcap -n "__fish_rpcap_using_subcommand help; and __fish_seen_subcommand_from extcap" -f -a "uninstall" -d 'Take it away again'
complete -c rpcap -n "__fish_rpcap_using_subcommand help; and __fish_seen_subcommand_from extcap" -f -a "refresh" -d 'Ask the known hosts for their devices now'
