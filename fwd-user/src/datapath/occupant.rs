//! Who else's XDP program is on a device: named in the refusal.

use aya::programs::ProgramInfo;
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage, LinkXdp},
};

use super::request;

/// "12 (name)", as far as it can be found out.
pub(super) fn describe(ifindex: u32) -> String {
    let Some(id) = program_on(ifindex) else { return "of unknown number".to_owned() };
    named(id)
}

/// A program by its number.
pub(super) fn named(id: u32) -> String {
    let found = aya::programs::loaded_programs().flatten().find(|program| program.id() == id);
    found.as_ref().map_or_else(|| id.to_string(), described)
}

/// "12 (name)".
pub(super) fn described(program: &ProgramInfo) -> String {
    match program.name_as_str() {
        Some(name) if !name.is_empty() => format!("{} ({name})", program.id()),
        _ => program.id().to_string(),
    }
}

/// Asks the kernel for the device's XDP program.
pub(super) fn program_on(ifindex: u32) -> Option<u32> {
    let mut question = LinkMessage::default();
    question.header.index = ifindex;
    let answer = request::ask(RouteNetlinkMessage::GetLink(question)).ok()?;
    let RouteNetlinkMessage::NewLink(link) = answer else { return None };
    let xdp = link.attributes.into_iter().find_map(|attribute| match attribute {
        LinkAttribute::Xdp(xdp) => Some(xdp),
        _ => None,
    })?;
    xdp.into_iter().find_map(|attribute| match attribute {
        LinkXdp::ProgId(id) => Some(id),
        _ => None,
    })
}
