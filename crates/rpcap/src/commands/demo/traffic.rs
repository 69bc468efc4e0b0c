use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use etherparse::{IcmpEchoHeader, Icmpv4Header, Icmpv4Type};
use socket2::{Domain, Protocol, Socket, Type};

use super::cable::{ECHO, FAR, HTTP, NEAR};

/// Between two packets of a kind, so that it lasts long enough to look at.
const PACE: Duration = Duration::from_millis(20);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(1);

/// Traffic over the cable for about a second: pings, echoed datagrams, and two web pages.
pub(super) fn make() -> std::io::Result<()> {
    let ping = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
    ping.connect(&SocketAddr::from((FAR, 0)).into())?;
    let echo = UdpSocket::bind((NEAR, 0))?;
    echo.connect((FAR, ECHO))?;
    echo.set_read_timeout(Some(ANSWER))?;
    for round in 0u16..20 {
        if round.is_multiple_of(4) {
            let payload = [b'.'; 56];
            let request = Icmpv4Type::EchoRequest(IcmpEchoHeader { id: 1, seq: round / 4 + 1 });
            let mut packet = Icmpv4Header::with_checksum(request, &payload).to_bytes().to_vec();
            packet.extend_from_slice(&payload);
            ping.send(&packet)?;
        }
        if round % 10 == 5 {
            fetch()?;
        }
        let mut datagram = vec![b'.'; 40 + 60 * usize::from(round)];
        echo.send(&datagram)?;
        echo.recv(&mut datagram)?;
        std::thread::sleep(PACE);
    }
    Ok(())
}

fn fetch() -> std::io::Result<()> {
    let address = SocketAddr::new(IpAddr::V4(FAR), HTTP);
    let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut page = Vec::new();
    stream.take(1_000_000).read_to_end(&mut page)?;
    Ok(())
}
