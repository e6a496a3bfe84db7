//! The host's own listening sockets, by sock_diag(7), and whose they are.

use std::{fs, io, net::SocketAddr};

use fwd_common::proto::IpProto;
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6},
    inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags},
};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

/// A socket that takes whatever comes to its address and L4 port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    pub proto: IpProto,
    pub addr: SocketAddr,
    inode: u64,
}

#[cfg(test)]
impl Socket {
    /// A TCP socket of nobody.
    pub fn tcp(addr: SocketAddr) -> Self {
        Self { proto: IpProto::TCP, addr, inode: 0 }
    }
}

/// All of this network namespace; none where the kernel does not tell (`CONFIG_INET_DIAG`), which is logged.
pub fn listening() -> Vec<Socket> {
    let mut found = Vec::new();
    for (proto, states) in [(IpProto::TCP, StateFlags::LISTEN), (IpProto::UDP, StateFlags::CLOSE)] {
        for any in [SocketId::new_v4(), SocketId::new_v6()] {
            match ask(any, proto, states.clone()) {
                Ok(sockets) => found.extend(sockets),
                Err(error) => tracing::warn!("the kernel does not tell who listens on this host: {error}"),
            }
        }
    }
    found
}

/// `sshd (process 812)`, where /proc tells.
pub fn process_of(socket: &Socket) -> Option<String> {
    let wanted = format!("socket:[{}]", socket.inode);
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut owners = processes.filter(|process| {
        let fds = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        fds.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|target| target.as_os_str() == wanted.as_str())
    });
    let process = owners.find(|p| p.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit()))?;
    let name = fs::read_to_string(process.path().join("comm")).ok()?;
    Some(format!("{} (process {})", name.trim(), process.file_name().to_string_lossy()))
}

/// Sockets of a protocol that are in one of these states. The kernel picks them: a reader of /proc/net would walk
/// every connection of the host.
fn ask(any: SocketId, proto: IpProto, states: StateFlags) -> io::Result<Vec<Socket>> {
    let request = InetRequest {
        family: if any.source_address.is_ipv4() { AF_INET } else { AF_INET6 },
        protocol: proto.0,
        extensions: ExtensionFlags::empty(),
        states,
        socket_id: any,
    };
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    let kernel = netlink_sys::Socket::new(NETLINK_SOCK_DIAG)?;
    kernel.connect(&netlink_sys::SocketAddr::new(0, 0))?;
    kernel.send(&bytes, 0)?;
    let mut found = Vec::new();
    loop {
        let (datagram, _) = kernel.recv_from_full()?;
        let mut rest = datagram.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest).map_err(io::Error::other)?;
            match message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(told)) => {
                    found.push(socket(proto, &told.header));
                }
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                // The end of the dump.
                _ => return Ok(found),
            }
            // Messages begin at multiples of four bytes (netlink(7)).
            let length = message.header.length.next_multiple_of(4) as usize;
            rest = rest.get(length..).unwrap_or_default();
        }
    }
}

fn socket(proto: IpProto, told: &InetResponseHeader) -> Socket {
    let id = &told.socket_id;
    let addr = SocketAddr::new(id.source_address.to_canonical(), id.source_port);
    Socket { proto, addr, inode: told.inode.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};

    #[test]
    fn open_sockets_are_found_with_their_process() {
        let (tcp, udp) = (TcpListener::bind("127.0.0.1:0"), UdpSocket::bind("[::1]:0"));
        let (tcp, udp) = (tcp.expect("loopback has L4 ports"), udp.expect("loopback has L4 ports"));
        let (tcp_addr, udp_addr) = (tcp.local_addr().expect("bound"), udp.local_addr().expect("bound"));
        let client = TcpStream::connect(tcp_addr).expect("it listens");
        let found = listening();
        for (proto, addr) in [(IpProto::TCP, tcp_addr), (IpProto::UDP, udp_addr)] {
            let is_it = |s: &&Socket| s.proto == proto && s.addr == addr;
            let socket = found.iter().find(is_it).expect("it takes what comes");
            let process = process_of(socket).expect("it is ours");
            assert!(process.ends_with(&format!("(process {})", std::process::id())), "{process}");
        }
        let taken = client.local_addr().expect("it is connected");
        assert!(!found.iter().any(|s| s.addr == taken), "a connection does not listen");
    }
}
