//! ICMP and ICMPv6 echo by the kernel's ping sockets, which [`Netns::new`] opens to root.

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use crate::netns::Netns;

const V4_REQUEST: u8 = 8;
const V4_REPLY: u8 = 0;
const V6_REQUEST: u8 = 128;
const V6_REPLY: u8 = 129;

/// Sends one echo request of 56 bytes and waits a second for its reply; tried twice.
///
/// # Errors
/// If no reply comes.
pub fn ping(netns: &Netns, to: &str) -> Result<()> {
    let to: IpAddr = to.parse()?;
    netns.inside(|| echo(to, 1).or_else(|_| echo(to, 2)))
}

fn echo(to: IpAddr, sequence: u8) -> Result<()> {
    let (family, protocol, request, reply) = match to {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp, V4_REQUEST, V4_REPLY),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6, V6_REQUEST, V6_REPLY),
    };
    let socket = UdpSocket::from(socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, protocol)?);
    socket.connect((to, 0)).with_context(|| format!("no route to {to}"))?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    // The kernel fills in the checksum and the id.
    let mut message = vec![request, 0, 0, 0, 0, 0, 0, sequence];
    message.extend(0..56);
    socket.send(&message)?;
    let mut answer = [0; 128];
    let length = socket.recv(&mut answer).with_context(|| format!("no echo reply from {to}"))?;
    ensure!(
        answer[0] == reply && answer[6..length] == message[6..],
        "{to} answered {:02x?}",
        &answer[..length]
    );
    Ok(())
}
