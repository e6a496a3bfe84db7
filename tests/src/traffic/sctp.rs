//! SCTP (RFC 9260) over raw sockets, for kernels without it: an association is opened by its four packets, carries
//! one message each way, and is aborted. Both ends discard what has a wrong checksum, as receivers do.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, socket};
use std::os::fd::AsRawFd;

use super::Service;
use crate::frame::sctp_checksum;
use crate::netns::Netns;

const DATA: u8 = 0;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const ABORT: u8 = 6;
const COOKIE_ECHO: u8 = 10;
const COOKIE_ACK: u8 = 11;
/// The type of the parameter, and its length: four bytes more than the cookie.
const COOKIE: &[u8] = b"\0\x07\0\x0ccookie!!";
/// Where a DATA chunk's text begins: after TSN, stream, number in the stream, protocol.
const TEXT: usize = 12;

/// A packet's L4 ports, tag, and first chunk.
#[derive(Debug)]
struct Heard {
    from: u16,
    to: u16,
    tag: u32,
    chunk: u8,
    body: Vec<u8>,
}

/// A raw socket at an address, as one that can send and receive: its L4 port is the packets' own.
#[track_caller]
fn raw(at: SocketAddr) -> Result<UdpSocket> {
    let family = if at.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let raw = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Sctp)?;
    bind(raw.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(at.ip(), 0)))?;
    Ok(UdpSocket::from(raw))
}

fn packet((from, to): (u16, u16), tag: u32, (chunk, flags): (u8, u8), body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 4).expect("chunks are short");
    let mut bytes = [&from.to_be_bytes()[..], &to.to_be_bytes(), &tag.to_be_bytes(), &[0; 4]].concat();
    bytes.extend([chunk, flags]);
    bytes.extend(length.to_be_bytes());
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    let sum = sctp_checksum(&bytes);
    bytes[8..12].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// What a raw socket received; none where it is to be discarded.
fn read(bytes: &[u8], source: IpAddr) -> Option<Heard> {
    // IPv4's raw sockets see the L3 header.
    let header = if source.is_ipv4() { usize::from(bytes.first()? & 0xf) * 4 } else { 0 };
    let mut bytes = bytes.get(header..)?.to_vec();
    let word = |bytes: &[u8], at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    let sum: [u8; 4] = bytes.get(8..12)?.try_into().ok()?;
    bytes[8..12].fill(0);
    let length = usize::from(word(&bytes, 14)?);
    if u32::from_le_bytes(sum) != sctp_checksum(&bytes) {
        eprintln!("an SCTP packet from {source} has a wrong checksum");
        return None;
    }
    Some(Heard {
        from: word(&bytes, 0)?,
        to: word(&bytes, 2)?,
        tag: u32::from_be_bytes(bytes.get(4..8)?.try_into().ok()?),
        chunk: *bytes.get(12)?,
        body: bytes.get(16..12 + length)?.to_vec(),
    })
}

/// An SCTP service on `at` that answers every message with `<sender> <message>`.
///
/// # Panics
/// If there cannot be such a socket.
#[must_use]
#[track_caller]
pub fn sctp_whoami(netns: &Netns, at: &str) -> Service {
    let at: SocketAddr = at.parse().expect("an address and an L4 port");
    let socket = netns.inside(|| raw(at)).unwrap_or_else(|error| panic!("{at}: {error:#}"));
    let serving = socket.try_clone().expect("a descriptor can be duplicated");
    Service::start(netns, &socket, move || {
        let (mut buffer, mut tags) = ([0; 1 << 16], HashMap::new());
        // A raw socket that was shut down returns nothing, which no packet is.
        while let Ok((length @ 1.., peer)) = serving.recv_from(&mut buffer) {
            let Some(heard) = read(&buffer[..length], peer.ip()).filter(|heard| heard.to == at.port()) else {
                continue;
            };
            let ends = (at.port(), heard.from);
            let seen = SocketAddr::new(peer.ip(), heard.from);
            if let (INIT, Some(tag)) = (heard.chunk, heard.body.first_chunk()) {
                tags.insert(seen, u32::from_be_bytes(*tag));
            }
            let Some(tag) = tags.get(&seen).copied() else { continue };
            let answer = match heard.chunk {
                INIT => packet(ends, tag, (INIT_ACK, 0), &[&init(tag.wrapping_add(1))[..], COOKIE].concat()),
                COOKIE_ECHO => packet(ends, tag, (COOKIE_ACK, 0), &[]),
                DATA if heard.tag == tag.wrapping_add(1) => {
                    let text = [seen.to_string().as_bytes(), b" ", &heard.body[TEXT..]].concat();
                    packet(ends, tag, (DATA, 3), &data(&text))
                }
                _ => continue,
            };
            if serving.send_to(&answer, SocketAddr::new(peer.ip(), 0)).is_err() {
                break;
            }
        }
    })
}

/// The fixed part of INIT and INIT ACK: the tag that packets to the sender bear, window, streams, first TSN.
fn init(tag: u32) -> [u8; 16] {
    let mut body = [0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1];
    body[..4].copy_from_slice(&tag.to_be_bytes());
    body
}

fn data(text: &[u8]) -> Vec<u8> {
    [&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0][..], text].concat()
}

/// Opens an association from one end to another, sends a message, returns the answer, and aborts.
///
/// # Errors
/// If one of its packets has no answer within a second, twice.
pub fn ask_sctp(netns: &Netns, from: &str, to: &str, text: &str) -> Result<String> {
    netns.inside(|| {
        let (from, to): (SocketAddr, SocketAddr) = (from.parse()?, to.parse()?);
        let socket = raw(from)?;
        socket.connect((to.ip(), 0))?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        let ends = (from.port(), to.port());
        let own = u32::from(from.port()) << 8;
        let once = |tag: u32, chunk: (u8, u8), body: &[u8], wanted: u8| -> Result<Heard> {
            socket.send(&packet(ends, tag, chunk, body))?;
            let mut buffer = [0; 1 << 16];
            loop {
                let length = socket.recv(&mut buffer)?;
                let heard = read(&buffer[..length], to.ip());
                let is_it = |heard: &Heard| (heard.to, heard.from) == ends && heard.chunk == wanted;
                if let Some(heard) = heard.filter(is_it) {
                    ensure!(heard.tag == own, "{to} answered another association: {heard:?}");
                    return Ok(heard);
                }
            }
        };
        // Asked twice, because the first packet may wait in vain for a neighbor.
        let ask = |tag: u32, chunk: (u8, u8), body: &[u8], wanted: u8| {
            let answer = once(tag, chunk, body, wanted).or_else(|_| once(tag, chunk, body, wanted));
            answer.with_context(|| format!("no answer from {to} to chunk {}", chunk.0))
        };
        let opened = ask(0, (INIT, 0), &init(own), INIT_ACK)?;
        let tag = opened.body.first_chunk().context("INIT ACK has no tag")?;
        let tag = u32::from_be_bytes(*tag);
        ask(tag, (COOKIE_ECHO, 0), &COOKIE[4..], COOKIE_ACK)?;
        let answer = ask(tag, (DATA, 3), &data(text.as_bytes()), DATA)?;
        socket.send(&packet(ends, tag, (ABORT, 0), &[]))?;
        Ok(String::from_utf8_lossy(&answer.body[TEXT..]).into_owned())
    })
}
