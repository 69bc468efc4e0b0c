//! What is below the options.

#[cfg(not(windows))]
pub(super) const AFTER_HELP: &str = "\
SIGNALS
  SIGTERM and SIGINT end all sessions and captures, then the daemon; another one, half a second later or
  more, ends it at once.
  SIGHUP reads the file of -f again. Sessions and captures go on, but for those of collectors that are
  called no more and of clients that may connect no more. A file with errors changes nothing.

EXIT CODES
  0  ended by a signal
  1  could not start, a configuration has errors, or no daemon answers; standard error tells which
  2  wrong command line

CAPTURING needs the capability CAP_NET_RAW: run as root, or setcap cap_net_raw+ep on the program.

EXAMPLES
  rpcapd -n -l 192.0.2.10             let one host in, without a password
  rpcapd -n -b 127.0.0.1 -p 2012      on loopback, for a tunnel
  rpcapd -n -v -a collector,2003      call a collector, listen for nobody
  rpcapd -f /etc/rpcapd.toml          as a file says";

#[cfg(windows)]
pub(super) const AFTER_HELP: &str = r"\
ENDING
  Ctrl-C and Ctrl-Break end all sessions and captures, then the daemon; another one, half a second later
  or more, ends it at once. A service ends as its manager says: rpcapd service stop.

EXIT CODES
  0  ended as asked
  1  could not start, or a configuration has errors; standard error tells which
  2  wrong command line

CAPTURING needs Npcap (https://npcap.com), installed with its defaults or in WinPcap's mode.

EXAMPLES
  rpcapd -n -l 192.0.2.10             let one host in, without a password
  rpcapd -n -b 127.0.0.1 -p 2012      on loopback, for a tunnel
  rpcapd -n -v -a collector,2003      call a collector, listen for nobody
  rpcapd service install -- -f C:\ProgramData\rpcapd\rpcapd.toml
                                      as a service that a file says all about";
