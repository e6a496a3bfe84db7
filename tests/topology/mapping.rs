//! A client behind NAT finds out what kind of NAT it is, as STUN's does (RFC 5780, 4.3 and 4.4): by what servers see of
//! one socket, and by who of them reaches it.

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use fwd_tests::lab::{HOST_V4, HOST_V6, Hook, Lab, OUTSIDE_V4, OUTSIDE_V6, RED};
use fwd_tests::netns::Netns;
use fwd_tests::on_both_hooks;
use fwd_tests::traffic::{Service, http_whoami, udp_whoami};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, connect, listen, setsockopt, socket,
    sockopt,
};
use serde_json::json;

use crate::trace::trace;

on_both_hooks!(
    the_nat_is_of_the_kind_that_the_setting_says,
    tcp_is_let_in_by_the_mapping_of_a_connection,
    guests_meet_by_their_outside_addresses,
);

/// The servers' second address, and a stranger's.
const SECOND: [&str; 2] = ["203.0.113.3", "2001:db8:113::3"];
const STRANGER: [&str; 2] = ["203.0.113.4", "2001:db8:113::4"];

/// What a client learns.
#[derive(Debug, PartialEq, Eq)]
enum Behavior {
    EndpointIndependent,
    AddressDependent,
    AddressAndPortDependent,
}

fn lab(hook: Hook) -> Lab {
    let mut lab = Lab::empty(hook);
    lab.network(&RED, "");
    for (name, number) in [("red1", 11), ("red2", 12)] {
        lab.vm(name, &RED, number);
    }
    for address in [SECOND[0], STRANGER[0]] {
        lab.outside.run(&format!("ip addr add {address}/24 dev eth0"));
    }
    for address in [SECOND[1], STRANGER[1]] {
        lab.outside.run(&format!("ip addr add {address}/64 dev eth0 nodad"));
    }
    lab
}

fn at(addr: &str, l4_port: u16) -> SocketAddr {
    SocketAddr::new(fwd_tests::frame::ip(addr), l4_port)
}

/// One UDP socket of a guest.
struct Client(UdpSocket);

impl Client {
    #[track_caller]
    fn bound(netns: &Netns, to: SocketAddr) -> Self {
        let socket = netns.inside(|| UdpSocket::bind(to)).expect("the address is the guest's");
        socket.set_read_timeout(Some(Duration::from_millis(700))).expect("the timeout is not zero");
        Self(socket)
    }

    /// As which a server sees it.
    #[track_caller]
    fn seen_by(&self, server: SocketAddr) -> SocketAddr {
        let mut buffer = [0; 256];
        // Asked again, because the first datagram may wait in vain for a neighbor.
        for _ in 0..3 {
            self.0.send_to(b"who", server).expect("there is a route");
            if let Ok((length, from)) = self.0.recv_from(&mut buffer) {
                assert_eq!(from, server);
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                return text.split(' ').next().and_then(|seen| seen.parse().ok()).expect("an address");
            }
        }
        panic!("no answer from {server}");
    }

    /// Whether it hears what is sent from an address outside to what others see of it.
    #[track_caller]
    fn hears(&self, outside: &Netns, from: SocketAddr, to: SocketAddr) -> bool {
        let sender = outside.inside(|| UdpSocket::bind(from)).expect("the address is there");
        sender.send_to(b"unasked", to).expect("there is a route");
        let mut buffer = [0; 256];
        match self.0.recv_from(&mut buffer) {
            Ok((length, seen)) => {
                assert_eq!(
                    (&buffer[..length], seen),
                    (&b"unasked"[..], from),
                    "the sender's own address is seen"
                );
                true
            }
            Err(_) => false,
        }
    }
}

/// Mapping, then filtering. Servers listen on the first L4 port of both addresses, and on the second's next one.
#[track_caller]
fn classify(client: &Client, outside: &Netns, (one, two): (&str, &str)) -> (Behavior, Behavior) {
    let first = client.seen_by(at(one, 3478));
    let mapping = if client.seen_by(at(two, 3478)) == first {
        Behavior::EndpointIndependent
    } else if client.seen_by(at(one, 3479)) == first {
        Behavior::AddressDependent
    } else {
        Behavior::AddressAndPortDependent
    };
    let stranger = STRANGER[usize::from(first.is_ipv6())];
    let filtering = if client.hears(outside, at(stranger, 5000), first) {
        Behavior::EndpointIndependent
    } else if client.hears(outside, at(one, 5000), first) {
        Behavior::AddressDependent
    } else {
        Behavior::AddressAndPortDependent
    };
    (mapping, filtering)
}

fn servers(lab: &Lab, (one, two): (&str, &str)) -> Vec<Service> {
    let ends = [at(one, 3478), at(one, 3479), at(two, 3478)];
    ends.iter().map(|end| udp_whoami(&lab.outside, &end.to_string())).collect()
}

fn the_nat_is_of_the_kind_that_the_setting_says(hook: Hook) {
    use Behavior::{AddressAndPortDependent, EndpointIndependent};
    let lab = lab(hook);
    let (red1, red2) = (lab.get("red1"), lab.get("red2"));
    for (row, ends) in [(OUTSIDE_V4, SECOND[0]), (OUTSIDE_V6, SECOND[1])].into_iter().enumerate() {
        let _servers = servers(&lab, ends);
        let own = |l4_port| {
            [(&red1.v4, &red2.v4), (&red1.v6, &red2.v6)].map(|(a, b)| (at(a, l4_port), at(b, l4_port)))[row]
        };
        // The other guest has the L4 port towards the first server already.
        let (a, b) = own(5000);
        let (first, second) = (Client::bound(&red1.netns, a), Client::bound(&red2.netns, b));
        first.seen_by(at(ends.0, 3478));
        assert_eq!(classify(&second, &lab.outside, ends), (AddressAndPortDependent, AddressAndPortDependent));

        lab.ok("nat add open --network red --endpoint-independent");
        let (a, b) = own(5001);
        let (first, second) = (Client::bound(&red1.netns, a), Client::bound(&red2.netns, b));
        let seen = first.seen_by(at(ends.0, 3478));
        let host = [HOST_V4, HOST_V6][row];
        assert_eq!(seen, at(host, 5001), "the first guest keeps its L4 port");
        assert_eq!(classify(&second, &lab.outside, ends), (EndpointIndependent, EndpointIndependent));
        let mapped = second.seen_by(at(ends.0, 3478)).to_string();
        let table = lab.items("nat table --port red2 --proto udp");
        let any = at(["0.0.0.0", "::"][row], 0).to_string();
        let rows: Vec<_> = table.iter().filter(|row| row["destination"] == any.as_str()).collect();
        let [row] = rows[..] else { panic!("there is one mapping in {table:#?}") };
        assert_eq!((&row["source"], &row["translated"]), (&json!(b.to_string()), &json!(mapped)));
        let stranger = at(STRANGER[usize::from(b.is_ipv6())], 5002);
        let (code, traced) = trace(&lab, "outside", &format!("udp {stranger} > {mapped}"));
        assert_eq!((code, &traced["egress"]), (0, &json!("red2")), "{traced:#}");
        // Nobody holds it any more.
        lab.ok("flow delete --port red2");
        assert!(!second.hears(
            &lab.outside,
            at(STRANGER[usize::from(b.is_ipv6())], 5001),
            mapped.parse().expect("one")
        ));
        lab.ok("nat delete open");
    }
}

/// A TCP socket of a guest on an L4 port that others of it have too.
fn shared_tcp(at: SocketAddr) -> OwnedFd {
    let family = if at.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let tcp = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("there is memory");
    setsockopt(&tcp, sockopt::ReuseAddr, &true).expect("it is no one else's");
    setsockopt(&tcp, sockopt::ReusePort, &true).expect("it is no one else's");
    bind(tcp.as_raw_fd(), &SockaddrStorage::from(at)).expect("the address is the guest's");
    tcp
}

fn tcp_is_let_in_by_the_mapping_of_a_connection(hook: Hook) {
    let lab = lab(hook);
    lab.ok("nat add open --network red --endpoint-independent");
    let vm = lab.get("red1");
    for (own, server, host, stranger) in [
        (at(&vm.v4, 6000), at(OUTSIDE_V4, 80), at(HOST_V4, 6000), at(STRANGER[0], 0)),
        (at(&vm.v6, 6000), at(OUTSIDE_V6, 80), at(HOST_V6, 6000), at(STRANGER[1], 0)),
    ] {
        let _http = http_whoami(&lab.outside, &server.to_string());
        let (listener, connected) = vm.netns.inside(|| {
            let listener = shared_tcp(own);
            listen(&listener, Backlog::MAXCONN).expect("it can listen");
            let out = shared_tcp(own);
            connect(out.as_raw_fd(), &SockaddrStorage::from(server)).expect("the server listens");
            (TcpListener::from(listener), TcpStream::from(out))
        });
        let from_stranger = || {
            lab.outside.inside(|| {
                let tcp = shared_tcp(stranger);
                connect(tcp.as_raw_fd(), &SockaddrStorage::from(host)).map(|()| TcpStream::from(tcp))
            })
        };
        let inward = from_stranger().expect("the mapping lets it in");
        let (_, seen) = listener.accept().expect("it was let in");
        assert_eq!(seen, inward.local_addr().expect("it is connected"));
        drop((connected, inward, listener));
        lab.ok("flow delete --port red1");
        assert!(from_stranger().is_err(), "nobody listens on the host");
    }
}

fn guests_meet_by_their_outside_addresses(hook: Hook) {
    let lab = lab(hook);
    lab.ok("nat add open --network red --endpoint-independent");
    let (red1, red2) = (lab.get("red1"), lab.get("red2"));
    for (row, ends) in [(OUTSIDE_V4, SECOND[0]), (OUTSIDE_V6, SECOND[1])].into_iter().enumerate() {
        let _servers = servers(&lab, ends);
        let (a, b) =
            [(&red1.v4, &red2.v4), (&red1.v6, &red2.v6)].map(|(a, b)| (at(a, 5000), at(b, 5000)))[row];
        let (first, second) = (Client::bound(&red1.netns, a), Client::bound(&red2.netns, b));
        let (outer1, outer2) = (first.seen_by(at(ends.0, 3478)), second.seen_by(at(ends.0, 3478)));
        let mut buffer = [0; 16];
        for (from, to, seen, target) in [(&first, &second, outer1, outer2), (&second, &first, outer2, outer1)]
        {
            from.0.send_to(b"hello", target).expect("there is a route");
            let (length, sender) = to.0.recv_from(&mut buffer).expect("it is led to the other guest");
            assert_eq!((&buffer[..length], sender), (&b"hello"[..], seen), "under its outside address");
        }
    }
}
