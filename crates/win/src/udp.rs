//! What a UDP socket can be told beyond the portable: no fragments, how much the path takes, and many
//! datagrams in one send.
#![allow(unsafe_code, reason = "options of sockets that no other crate has")]

use std::io;
use std::net::UdpSocket;
use std::os::windows::io::AsRawSocket;
use std::ptr;

use windows_sys::Win32::Networking::WinSock::{
    IP_DONTFRAGMENT, IP_MTU, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_UDP, IPV6_DONTFRAG, IPV6_MTU,
    SOCKET, SOCKET_ERROR, UDP_SEND_MSG_SIZE, getsockopt, setsockopt,
};

/// Has no datagram leave in fragments, and no router make any (DF); a larger one fails with
/// WSAEMSGSIZE.
pub fn forbid_fragments(socket: &UdpSocket, ipv4: bool) -> io::Result<()> {
    match ipv4 {
        true => set(socket, IPPROTO_IP, IP_DONTFRAGMENT, 1),
        false => set(socket, IPPROTO_IPV6, IPV6_DONTFRAG, 1),
    }
}

/// Bytes of the largest IP packet that the path of a connected socket takes, as far as the system
/// knows. Since Windows 10.
pub fn path_mtu(socket: &UdpSocket, ipv4: bool) -> io::Result<u32> {
    match ipv4 {
        true => get(socket, IPPROTO_IP, IP_MTU),
        false => get(socket, IPPROTO_IPV6, IPV6_MTU),
    }
}

/// From now on what is sent is cut into datagrams of so many bytes, of which the last one may be
/// shorter; 0: it is one datagram. Since Windows 10, version 2004.
pub fn set_segment_size(socket: &UdpSocket, bytes: u32) -> io::Result<()> {
    set(socket, IPPROTO_UDP, UDP_SEND_MSG_SIZE, bytes)
}

fn raw(socket: &UdpSocket) -> SOCKET {
    socket.as_raw_socket() as SOCKET
}

fn set(socket: &UdpSocket, level: i32, name: i32, value: u32) -> io::Result<()> {
    const SIZE: i32 = size_of::<u32>() as i32;
    // SAFETY: the socket is open, and `value` lives and is as long as is said.
    let result = unsafe { setsockopt(raw(socket), level, name, (&raw const value).cast(), SIZE) };
    done(result)
}

fn get(socket: &UdpSocket, level: i32, name: i32) -> io::Result<u32> {
    let mut value = 0u32;
    let mut size = size_of::<u32>() as i32;
    let place = ptr::from_mut(&mut value).cast();
    // SAFETY: the socket is open, and no more than `size` bytes of `value` are written.
    let result = unsafe { getsockopt(raw(socket), level, name, place, &mut size) };
    done(result).map(|()| value)
}

fn done(result: i32) -> io::Result<()> {
    // The code of the thread's last error is that of WinSock too.
    if result == SOCKET_ERROR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (UdpSocket, UdpSocket) {
        let to = UdpSocket::bind("127.0.0.1:0").unwrap();
        let from = UdpSocket::bind("127.0.0.1:0").unwrap();
        from.connect(to.local_addr().unwrap()).unwrap();
        (from, to)
    }

    #[test]
    fn no_fragments() {
        let (from, to) = pair();
        forbid_fragments(&from, true).unwrap();
        from.send(b"whole").unwrap();
        assert_eq!(to.recv(&mut [0; 100]).unwrap(), 5);
    }

    /// Wine has no such option; where it is known it has to work.
    #[test]
    fn segments_where_they_are_known() {
        let (from, to) = pair();
        match set_segment_size(&from, 10) {
            Ok(()) => {
                from.send(&[7; 25]).unwrap();
                let sizes = [(); 3].map(|()| to.recv(&mut [0; 100]).unwrap());
                assert_eq!(sizes, [10, 10, 5]);
                set_segment_size(&from, 0).unwrap();
            }
            Err(e) => eprintln!("UDP_SEND_MSG_SIZE is not known here: {e}"),
        }
        from.send(&[7; 25]).unwrap();
        assert_eq!(to.recv(&mut [0; 100]).unwrap(), 25);
    }
}
