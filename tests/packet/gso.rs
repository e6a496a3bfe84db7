//! Frames that stand for many (GSO): TCX counts their segments.

use fwd_tests::frame::{ACK, Packet, SYN};
use fwd_tests::lab::Hook;
use fwd_tests::{need, skip};

use crate::sent::{admitted, named};
use crate::world::{RED1, RED2, on};

const FAMILIES: [(char, &str, &str, u16); 2] =
    [('4', "10.10.0.11", "10.10.0.12", 1460), ('6', "fd00:10::11", "fd00:10::12", 1440)];
/// A test run takes no more than fits into a page.
const SEGMENTS: u16 = 2;
const TIMESTAMPS: [u8; 12] = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];

#[test]
fn a_gso_frame_passes_whole_and_counts_by_its_segments() {
    need!(skip::bpf());
    on(Hook::Tcx, |world| {
        for (family, one, two, size) in FAMILIES {
            let packet = Packet::tcp((one, 4000), (two, 80)).macs(RED1, RED2);
            let syn = packet.clone().flags(SYN);
            world.send("red1", &syn).forwards("red2", &syn, &named(&admitted("red1", family)));
            let n = i64::from(SEGMENTS);
            let counted = [("skb red1 received", n), ("skb red1 forwarded", n), ("via red2", n)];
            // Without options, and with timestamps as most stacks send them; the last segment full, and not.
            for (options, rest) in [(&[][..], 0), (&TIMESTAMPS, 0), (&TIMESTAMPS, 700)] {
                let bulk = packet.clone().flags(ACK).tcp_options(options);
                let size = size - u16::try_from(options.len()).expect("options are short");
                let bulk = bulk.payload(vec![7; usize::from(size * SEGMENTS - rest)]);
                world.send_gso("red1", &bulk.frame(), size.into()).forwards("red2", &bulk, &counted);
            }
        }
    });
}
