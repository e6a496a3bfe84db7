//! The host's own listening sockets, out of /proc/net (proc_net_tcp(5)), and whose they are.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use fwd_common::proto::IpProto;

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

/// All of this network namespace. A table that cannot be read counts as empty.
pub fn listening() -> Vec<Socket> {
    let tables = [
        (IpProto::TCP, "tcp", "0A"),
        (IpProto::TCP, "tcp6", "0A"),
        (IpProto::UDP, "udp", "07"),
        (IpProto::UDP, "udp6", "07"),
    ];
    let read = |(proto, file, state): (IpProto, &str, &str)| {
        let text = fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
        parse(&text, proto, state)
    };
    tables.into_iter().flat_map(read).collect()
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

fn parse(text: &str, proto: IpProto, state: &str) -> Vec<Socket> {
    let socket = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let (local, inode) = (words.get(1)?, words.get(9)?);
        if *words.get(3)? != state {
            return None;
        }
        let (addr, l4_port) = local.split_once(':')?;
        let l4_port = u16::from_str_radix(l4_port, 16).ok()?;
        Some(Socket { proto, addr: SocketAddr::new(address(addr)?, l4_port), inode: inode.parse().ok()? })
    };
    text.lines().skip(1).filter_map(socket).collect()
}

/// Words of four bytes, each as the machine reads it.
fn address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let bytes = [word(0)?, word(8)?, word(16)?, word(24)?].concat();
            Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn an_open_socket_is_found_with_its_process() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has L4 ports");
        let addr = listener.local_addr().expect("it is bound");
        let socket = listening().into_iter().find(|s| s.addr == addr).expect("it listens");
        assert_eq!(socket.proto, IpProto::TCP);
        let process = process_of(&socket).expect("it is ours");
        assert!(process.ends_with(&format!("(process {})", std::process::id())), "{process}");
    }

    #[test]
    fn addresses_are_read_as_the_kernel_writes_them() {
        let text = "head\n 0: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0 77 1\n\
                     1: 00000000000000000000000000000000:0016 0:0 0A 0:0 0:0 0 0 0 78 1\n\
                     2: 0100007F:1F91 00000000:0000 01 0:0 0:0 0 0 0 79 1\n";
        let found: Vec<_> = parse(text, IpProto::TCP, "0A").iter().map(|s| s.addr.to_string()).collect();
        if cfg!(target_endian = "little") {
            assert_eq!(found, ["127.0.0.1:8080", "[::]:22"]);
        }
    }
}
