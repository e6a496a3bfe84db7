//! One question to rtnetlink and its answer, without a runtime, in the calling thread's network namespace.

use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// Asks about one object.
pub(super) fn ask(question: RouteNetlinkMessage) -> io::Result<RouteNetlinkMessage> {
    match exchange(question, NLM_F_REQUEST)? {
        NetlinkPayload::InnerMessage(answer) => Ok(answer),
        other => Err(failure(other)),
    }
}

/// Has something changed.
pub(super) fn tell(order: RouteNetlinkMessage) -> io::Result<()> {
    match exchange(order, NLM_F_REQUEST | NLM_F_ACK)? {
        NetlinkPayload::Error(message) if message.code.is_none() => Ok(()),
        other => Err(failure(other)),
    }
}

fn exchange(message: RouteNetlinkMessage, flags: u16) -> io::Result<NetlinkPayload<RouteNetlinkMessage>> {
    let mut message = NetlinkMessage::from(message);
    message.header.flags = flags;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    let socket = Socket::new(NETLINK_ROUTE)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&bytes, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    Ok(NetlinkMessage::deserialize(&answer).map_err(io::Error::other)?.payload)
}

fn failure(payload: NetlinkPayload<RouteNetlinkMessage>) -> io::Error {
    match payload {
        NetlinkPayload::Error(message) => message.to_io(),
        other => io::Error::other(format!("unexpected answer {other:?}")),
    }
}
