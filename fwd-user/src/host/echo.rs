//! Which guests answer an echo request (RFC 792, RFC 4443), asked from the network's gateway and from farther away.
//!
//! A guest that answers its neighbors alone has no route to anybody else. One that answers no echo at all tells nothing.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
};

use super::neighborhood::Neighborhood;

/// For an answer, before it is asked again, and in all.
const PAUSE: Duration = Duration::from_millis(250);
const PATIENCE: Duration = Duration::from_millis(1000);

/// Who answers when the gateway asks, and not when an address of this host's does that is not in its network. Blocks. A
/// device that is not there has nobody behind it.
pub(super) fn cut_off(places: &[Neighborhood], silent: &BTreeSet<IpAddr>) -> BTreeSet<IpAddr> {
    let mut all = BTreeSet::new();
    for place in places.iter().filter(|place| place.namespace.is_none()) {
        for source in &place.outside {
            let is_asked = |addr: &&IpAddr| addr.is_ipv4() == source.is_ipv4() && !silent.contains(addr);
            let asked: BTreeSet<_> = place.addresses.iter().filter(is_asked).copied().collect();
            let Ok(near) = answering((&place.device, any(source)), &asked) else { continue };
            let Ok(far) = answering((&place.device, *source), &near) else { continue };
            all.extend(near.difference(&far));
        }
    }
    all
}

const fn any(like: &IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

/// Asks everybody of one family at once, by a device, in the name of an address of this host.
fn answering((device, source): (&str, IpAddr), asked: &BTreeSet<IpAddr>) -> io::Result<BTreeSet<IpAddr>> {
    let mut answered = BTreeSet::new();
    if asked.is_empty() {
        return Ok(answered);
    }
    let socket = open(device, source)?;
    let id = std::process::id() as u16;
    let begun = Instant::now();
    while answered.len() < asked.len() && begun.elapsed() < PATIENCE {
        for addr in asked.difference(&answered) {
            // Who cannot be asked does not answer.
            _ = socket.send_to(&request(addr.is_ipv4(), id), SocketAddr::new(*addr, 0));
        }
        let asked_at = Instant::now();
        while answered.len() < asked.len() && asked_at.elapsed() < PAUSE {
            let mut buffer = [0; 128];
            match socket.recv_from(&mut buffer) {
                Ok((len, from)) if is_reply(&buffer[..len], from.is_ipv4(), id) => {
                    answered.extend(asked.get(&from.ip()));
                }
                Ok(_) => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(e) => return Err(e),
            }
        }
    }
    Ok(answered)
}

/// A raw socket; that it is none of UDP makes no difference to sending and receiving.
fn open(device: &str, source: IpAddr) -> io::Result<UdpSocket> {
    let (family, proto) = match source {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6),
    };
    let fd = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, proto)?;
    // Rules of the host's for that source do not lead elsewhere then.
    setsockopt(&fd, sockopt::BindToDevice, &OsString::from(device))?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(source, 0)))?;
    let socket = UdpSocket::from(fd);
    socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    Ok(socket)
}

/// Type, code, checksum, identifier, sequence number; the kernel fills in the checksum of IPv6.
fn request(is_v4: bool, id: u16) -> [u8; 8] {
    let kind = if is_v4 { 8 } else { 128 };
    let [high, low] = id.to_be_bytes();
    let sum = u32::from(u16::from_be_bytes([kind, 0])) + u32::from(id);
    let [sum_high, sum_low] = (!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes();
    [kind, 0, sum_high, sum_low, high, low, 0, 0]
}

/// Whether it is the answer to such a request; of IPv4 the kernel hands out its header too.
fn is_reply(packet: &[u8], is_v4: bool, id: u16) -> bool {
    let (kind, start) = match packet.first() {
        Some(first) if is_v4 => (0, usize::from(first & 15) * 4),
        _ => (129, 0),
    };
    let Some([found, _, _, _, high, low]) = packet.get(start..start + 6) else { return false };
    *found == kind && u16::from_be_bytes([*high, *low]) == id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_whole_and_their_replies_are_known() {
        let request = request(true, 0xfff0);
        let words = request.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
        let sum: u32 = words.sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "the checksum makes the sum nothing");
        let mut reply = vec![0x45; 20];
        reply.extend([0, 0, 0, 0, 0xff, 0xf0, 0, 0]);
        assert!(is_reply(&reply, true, 0xfff0));
        assert!(!is_reply(&reply, true, 1));
        assert!(!is_reply(&[0x45; 20], true, 0xfff0));
        assert!(is_reply(&[129, 0, 0, 0, 0xff, 0xf0], false, 0xfff0));
        assert!(!is_reply(&[128, 0, 0, 0, 0xff, 0xf0], false, 0xfff0));
        assert!(!is_reply(&[], false, 0));
    }
}
