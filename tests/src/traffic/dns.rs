//! A DNS client (RFC 1035), as far as tests ask.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::netns::Netns;

const HEADER: usize = 12;
const A: u16 = 1;
const AAAA: u16 = 28;

/// The addresses that a server has for a name, of both families; none if it says that there is no such name.
///
/// # Errors
/// If it does not answer.
pub fn resolve(netns: &Netns, server: &str, name: &str) -> Result<Vec<IpAddr>> {
    netns.inside(|| {
        let mut found = ask(server, name, A)?;
        found.extend(ask(server, name, AAAA)?);
        Ok(found)
    })
}

fn ask(server: &str, name: &str, kind: u16) -> Result<Vec<IpAddr>> {
    let socket = UdpSocket::bind(if server.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" })?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(Duration::from_secs(3)))?;
    // One question, recursion desired.
    let mut question = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(u8::try_from(label.len())?);
        question.extend(label.as_bytes());
    }
    question.push(0);
    question.extend([kind.to_be_bytes(), 1_u16.to_be_bytes()].concat());
    socket.send(&question)?;
    let mut buffer = [0; 1500];
    let length = socket.recv(&mut buffer)?;
    let answer = &buffer[..length];
    ensure!(answer.len() >= question.len() && answer[..2] == question[..2], "not the answer to {name}");
    let mut rest = answer[HEADER..].get(question.len() - HEADER..).unwrap_or_default();
    let mut found = Vec::new();
    // Each with a name of two bytes that points at the question's.
    while let [_, _, k0, k1, _, _, _, _, _, _, l0, l1, data @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*l0, *l1]));
        ensure!(data.len() >= length, "the answer to {name} is cut off");
        let (own, next) = data.split_at(length);
        match (u16::from_be_bytes([*k0, *k1]), own.len()) {
            (A, 4) => found.extend(<[u8; 4]>::try_from(own).map(Ipv4Addr::from).map(IpAddr::from)),
            (AAAA, 16) => found.extend(<[u8; 16]>::try_from(own).map(Ipv6Addr::from).map(IpAddr::from)),
            _ => {}
        }
        rest = next;
    }
    Ok(found)
}
