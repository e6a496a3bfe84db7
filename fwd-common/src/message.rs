//! ICMP messages as flows see them (RFC 792, RFC 950, RFC 4443, RFC 4620).
//!
//! A flow of ICMP is an echo's id, or one type and code: what a rule permits for one type is no way through for
//! another. Answers belong to the flow of what they answer. Errors are of no flow of their own, and not for here.
//!
//! In a key an echo has its id as `sport` in a request and as `dport` in a reply, 0 in the other. Any other message has
//! its type and code as `sport`, and its answer has them as `dport`; the other one is [`NO_ID`]. No type that is not an
//! echo's is 0, so the two are never alike.

use crate::{
    addr::Address,
    proto::{icmp, icmpv6},
};

/// Stands where a message that is no echo has nothing, in either byte order.
pub const NO_ID: u16 = 0xffff;

/// `sport` and `dport` of a message's key, of type and code (`service`) and the id at its place, all in network byte
/// order.
#[inline(always)]
pub const fn key<A: Address>(service: u16, id: u16) -> (u16, u16) {
    let [kind, code] = service.to_ne_bytes();
    let (request, reply) = echo::<A>();
    if kind == request {
        return (id, 0);
    }
    if kind == reply {
        return (0, id);
    }
    match question::<A>(kind) {
        0 => (service, NO_ID),
        question => (NO_ID, u16::from_ne_bytes([question, code])),
    }
}

/// Type and code of the messages with this `sport` and `dport`, the type first; an echo's code is 0.
#[inline(always)]
pub const fn service<A: Address>(sport: u16, dport: u16) -> u16 {
    let (request, reply) = echo::<A>();
    if dport == NO_ID && sport != 0 {
        return sport;
    }
    if sport == NO_ID && dport != 0 {
        let [question, code] = dport.to_ne_bytes();
        return u16::from_ne_bytes([answer::<A>(question), code]);
    }
    // Both are 0 of an echo with the id 0: of the two the request is it that opens flows.
    u16::from_ne_bytes([if sport == 0 && dport != 0 { reply } else { request }, 0])
}

/// Type and code of what answers messages of this type and code; the same where nothing does.
#[inline(always)]
pub const fn answered<A: Address>(service: u16) -> u16 {
    let [kind, code] = service.to_ne_bytes();
    let (request, reply) = echo::<A>();
    if kind == request {
        return u16::from_ne_bytes([reply, 0]);
    }
    if kind == reply {
        return u16::from_ne_bytes([request, 0]);
    }
    let other = match question::<A>(kind) {
        0 => answer::<A>(kind),
        question => question,
    };
    u16::from_ne_bytes([other, code])
}

/// The id of an echo with this `sport` and `dport`, in network byte order.
pub const fn id(sport: u16, dport: u16) -> Option<u16> {
    match (sport, dport) {
        (id, 0) | (0, id) => Some(id),
        _ => None,
    }
}

#[inline(always)]
const fn echo<A: Address>() -> (u8, u8) {
    if A::IS_V6 { (icmpv6::ECHO_REQUEST, icmpv6::ECHO_REPLY) } else { (icmp::ECHO_REQUEST, icmp::ECHO_REPLY) }
}

/// What a type answers; 0: nothing.
#[inline(always)]
const fn question<A: Address>(kind: u8) -> u8 {
    match (A::IS_V6, kind) {
        (false, icmp::TIMESTAMP_REPLY | icmp::INFO_REPLY | icmp::ADDRESS_MASK_REPLY)
        | (true, icmpv6::NODE_INFO_REPLY) => kind - 1,
        _ => 0,
    }
}

/// What answers a type.
#[inline(always)]
const fn answer<A: Address>(kind: u8) -> u8 {
    if question::<A>(kind.wrapping_add(1)) == kind { kind.wrapping_add(1) } else { kind }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::{V4, V6};

    /// Not of the errors and of neighbor and listener discovery, which are of no flow.
    fn kinds<A: Address>() -> impl Iterator<Item = u8> {
        (0..=255).filter(|kind| !(A::IS_V6 && (*kind < 128 || (130..=137).contains(kind) || *kind == 143)))
    }

    fn check<A: Address>() {
        let (request, reply) = echo::<A>();
        for kind in kinds::<A>() {
            for code in [0, 1, 255] {
                for id in [1, 0x0800, 0x0d00, NO_ID - 1, NO_ID] {
                    let asked = u16::from_ne_bytes([kind, code]);
                    let (sport, dport) = key::<A>(asked, id);
                    let is_echo = kind == request || kind == reply;
                    let wanted = if is_echo { u16::from_ne_bytes([kind, 0]) } else { asked };
                    assert_eq!(service::<A>(sport, dport), wanted, "{kind}/{code} {id}");
                    assert_eq!(super::id(sport, dport), is_echo.then_some(id), "{kind}/{code} {id}");
                }
            }
        }
    }

    #[test]
    fn a_key_says_what_the_message_was() {
        check::<V4>();
        check::<V6>();
    }

    #[test]
    fn the_other_way_of_a_flow_is_its_answer_and_nothing_else() {
        fn answers<A: Address>(kind: u8) -> Vec<u8> {
            let (sport, dport) = key::<A>(u16::from_ne_bytes([kind, 0]), 7);
            kinds::<A>()
                .filter(|other| key::<A>(u16::from_ne_bytes([*other, 0]), 7) == (dport, sport))
                .collect()
        }
        for (kind, wanted) in [(8, 0), (13, 14), (15, 16), (17, 18)] {
            assert_eq!(answers::<V4>(kind), [wanted]);
            let service = |kind| u16::from_ne_bytes([kind, 0]);
            assert_eq!(answered::<V4>(service(kind)), service(wanted));
            assert_eq!(answered::<V4>(service(wanted)), service(kind));
        }
        assert_eq!(answered::<V4>(u16::from_ne_bytes([42, 9])), u16::from_ne_bytes([42, 9]));
        assert_eq!(answered::<V6>(u16::from_ne_bytes([139, 1])), u16::from_ne_bytes([140, 1]));
        assert_eq!((answers::<V4>(42), answers::<V4>(9)), (vec![], vec![]));
        assert_eq!((answers::<V6>(128), answers::<V6>(139)), (vec![129], vec![140]));
        assert!(answers::<V6>(141).is_empty());
    }
}
