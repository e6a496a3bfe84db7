//! A real packet to a guest's service, from where the host itself would send it.

use std::{
    io::{ErrorKind, Read},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use super::{namespace::Namespace, survey::Met};

const CONNECT: Duration = Duration::from_secs(2);
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
    let stream = match TcpStream::connect_timeout(&to, CONNECT) {
        Ok(stream) => stream,
        Err(e) if e.kind() == ErrorKind::ConnectionRefused => return Met::Refusal,
        Err(e) if matches!(e.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => return Met::Silence,
        Err(e) => return Met::Unsendable(e.to_string()),
    };
    let read = stream.set_read_timeout(Some(LISTEN)).and_then(|()| (&stream).read(&mut [0]));
    match read {
        Ok(0) => Met::Closes,
        Err(e) if e.kind() == ErrorKind::ConnectionReset => Met::Closes,
        _ => Met::Service,
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
        Err(e) if e.kind() == ErrorKind::ConnectionRefused => Met::Refusal,
        Err(_) => Met::NoWord,
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
