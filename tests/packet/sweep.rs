//! `fwd_sweep`: user space's orders to the flow tables.

use fwd_common::sweep::{Command, Op};
use fwd_tests::frame::Packet;
use fwd_tests::{need, skip};
use fwd_user::datapath::Swept;
use fwd_user::observe::Family;
use serde_json::json;

use crate::count::flows;
use crate::sent::{admitted, named};
use crate::world::{FLOWS, RED1, RED2, World, on_both_hooks};

fn all_slots(op: Op, family: u32) -> Command {
    Command { op: op as u32, family, slots: FLOWS, ..Command::default() }
}

fn answers(world: &mut World, op: Op, family: u32) -> (u64, u64, u64) {
    let Swept { inspected, expired, cut } = world.sweep(all_slots(op, family));
    (inspected, expired, cut)
}

fn flow_count<A: Family>(world: &World) -> usize {
    let mut count = 0;
    flows::<A>(world, |_, _| count += 1);
    count
}

/// Admits one flow of each family between two VMs.
fn admit_two(world: &mut World) {
    for (family, from, to) in
        [('4', "10.10.0.11:4000", "10.10.0.12:80"), ('6', "[fd00:10::11]:4000", "[fd00:10::12]:80")]
    {
        let packet = Packet::udp(from, to).macs(RED1, RED2);
        world.send("red1", &packet).forwards("red2", &packet, &named(&admitted("red1", family)));
    }
}

#[test]
fn reclaim_deletes_what_has_expired_and_nothing_else() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        admit_two(world);
        for family in [0, 1] {
            assert_eq!(answers(world, Op::Reclaim, family), (1, 0, 0));
        }
        world.set("udp_one_way_timeout", json!("1s"));
        std::thread::sleep(std::time::Duration::from_millis(1500));
        for family in [0, 1] {
            assert_eq!(answers(world, Op::Reclaim, family), (1, 1, 0));
            assert_eq!(answers(world, Op::Reclaim, family), (0, 0, 0));
        }
        use fwd_common::addr::{V4, V6};
        assert_eq!((flow_count::<V4>(world), flow_count::<V6>(world)), (0, 0));
    });
}

#[test]
fn recheck_cuts_what_an_edit_no_longer_permits_and_keeps_the_rest() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        admit_two(world);
        world.rule("other", "deny port:red4 port:red2 udp/80");
        assert_eq!(answers(world, Op::Recheck, 1), (1, 0, 0));
        world.rule("cut", "deny port:red1 port:red2 udp/80");
        for family in [0, 1] {
            assert_eq!(answers(world, Op::Recheck, family), (1, 0, 1));
            assert_eq!(answers(world, Op::Recheck, family), (0, 0, 0));
        }
    });
}

#[test]
fn delete_ends_one_flow_by_its_original_direction() {
    need!(skip::bpf());
    on_both_hooks(|world| {
        admit_two(world);
        let mut keys = Vec::new();
        flows::<fwd_common::addr::V4>(world, |key, entry| {
            if entry.has(fwd_common::flow::flag::ORIGINAL) {
                keys.push(*key);
            }
        });
        assert_eq!(keys.len(), 1);
        assert_eq!(world.sweep(Command::delete(&keys[0])).cut, 1);
        assert_eq!(world.sweep(Command::delete(&keys[0])).cut, 0);
        let packet = Packet::udp("10.10.0.11:4000", "10.10.0.12:80").macs(RED1, RED2);
        world.send("red1", &packet).forwards("red2", &packet, &named(&admitted("red1", '4')));
    });
}
