//! A real packet to a guest's service, from where the host itself would send it.

use std::{
    io::{ErrorKind, Read},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    os::fd::AsRawFd,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, socket},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{namespace::Namespace, survey::Met};

const CONNECT: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };
/// For a service that speaks first, or closes at once.
const LISTEN: Duration = Duration::from_millis(300);

/// Opens a TCP connection and closes it again. Blocks.
pub fn tcp(namespace: Option<&str>, to: SocketAddr) -> Met {
    inside(namespace, || connect(to))
}

/// Sends one datagram without content. Blocks.
pub fn udp(namespace: Option<&str>, to: SocketAddr) -> Met {
    inside(namespace, || datagram(to).unwrap_or_else(|e| Met::Unsendable(e.to_string())))
}

fn inside(namespace: Option<&str>, probe: impl FnOnce() -> Met + Send) -> Met {
    match namespace {
        None => probe(),
        Some(name) => Namespace::open(name)
            .and_then(|home| home.inside(|| Ok(probe())))
            .unwrap_or_else(|e| Met::Unsendable(e.to_string())),
    }
}

fn connect(to: SocketAddr) -> Met {
    // What fails at once fails here; what fails later is what came back.
    let stream = match begin(to) {
        Ok(stream) => stream,
        Err(e) => return Met::Unsendable(e.to_string()),
    };
    let came = poll(&mut [PollFd::new(&stream, PollFlags::OUT)], Some(&CONNECT));
    match stream.take_error() {
        _ if came.is_ok_and(|ready| ready == 0) => return Met::Silence,
        Ok(None) => {}
        Ok(Some(e)) | Err(e) => match e.kind() {
            ErrorKind::ConnectionRefused => return Met::Refusal,
            ErrorKind::TimedOut => return Met::Silence,
            _ => return Met::Rejection(e.to_string()),
        },
    }
    let ready = stream.set_nonblocking(false);
    let read =
        ready.and_then(|()| stream.set_read_timeout(Some(LISTEN))).and_then(|()| (&stream).read(&mut [0]));
    match read {
        Ok(0) => Met::Closes,
        Err(e) if e.kind() == ErrorKind::ConnectionReset => Met::Closes,
        _ => Met::Service,
    }
}

/// A connection that is being opened.
fn begin(to: SocketAddr) -> std::io::Result<TcpStream> {
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(family, SockType::Stream, flags, None)?;
    match nix::sys::socket::connect(fd.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(TcpStream::from(fd)),
        Err(e) => Err(e.into()),
    }
}

fn datagram(to: SocketAddr) -> std::io::Result<Met> {
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(LISTEN))?;
    socket.send(&[])?;
    Ok(match socket.recv(&mut [0]) {
        Ok(_) => Met::Service,
        Err(e) => match e.kind() {
            ErrorKind::ConnectionRefused => Met::Refusal,
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Met::NoWord,
            _ => Met::Rejection(e.to_string()),
        },
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn what_is_met_is_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has L4 ports");
        let to = listener.local_addr().expect("it is bound");
        assert_eq!(tcp(None, to), Met::Service);
        drop(listener);
        assert_eq!(tcp(None, to), Met::Refusal);
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has L4 ports");
        let to = socket.local_addr().expect("it is bound");
        assert_eq!(udp(None, to), Met::NoWord);
        drop(socket);
        assert_eq!(udp(None, to), Met::Refusal);
        assert!(matches!(tcp(Some("fwd-nowhere"), to), Met::Unsendable(_)));
    }
}
