//! Two guests on a plain Linux bridge: the agent, the network, and a hashed transfer.

use fwd_tests::frame::Mac;
use fwd_tests::guest::{Guest, Offloads, Spec, blocks_sha256};
use fwd_tests::link::VnetHeader;
use fwd_tests::netns::Netns;
use fwd_tests::traffic::http_get;
use fwd_tests::{need, skip};

const TRANSFER_MIB: u32 = 10;

#[test]
fn guests_talk_over_a_bridge_whatever_their_offloads() {
    need!(skip::qemu());
    let host = Netns::new("host");
    host.bridge("br0");
    host.address("br0", "10.0.0.1/24");
    let boot = |number: u8, offloads| {
        let (name, tap) = (format!("guest{number}"), format!("tap{number}"));
        host.tap(&tap, VnetHeader::Off);
        host.enslave(&tap, "br0");
        let spec = Spec {
            name: &name,
            tap: &tap,
            mac: Mac([0x52, 0x54, 0, 0, 0, number]),
            offloads,
            addresses: &[format!("10.0.0.{number}/24"), format!("fd00::{number}/64")],
            gateways: &["10.0.0.1".to_owned()],
            tools: &[],
            modules: &[],
        };
        Guest::boot(&host, &spec).expect("QEMU starts")
    };
    let (mut one, mut two) = (boot(11, Offloads::On), boot(12, Offloads::NoHeader));

    assert_eq!(one.exec_code("echo hello; exit 7").expect("the agent answers"), (7, "hello\n".to_owned()));
    assert_eq!(
        one.exec("ip route").expect("it has routes").lines().next(),
        Some("default via 10.0.0.1 dev eth0 ")
    );
    let content: Vec<u8> = (0..=255).cycle().take(20_000).collect();
    two.put("/tmp/file", &content).expect("files go in");
    assert_eq!(two.get("/tmp/file").expect("files come out"), content);

    one.exec("ping -c 1 -W 5 10.0.0.12 && ping -c 1 -W 5 fd00::12").expect("the bridge forwards");
    two.serve_whoami(80).expect("httpd starts");
    let page = http_get(&host, "10.0.0.12:80").expect("the guest answers");
    assert!(page.starts_with("10.0.0.1:"), "{page}");

    one.serve_blocks(5000, TRANSFER_MIB).expect("nc starts");
    two.serve_blocks(5000, TRANSFER_MIB).expect("nc starts");
    let hash = blocks_sha256(TRANSFER_MIB);
    assert_eq!(two.fetch_sha256("10.0.0.11", 5000).expect("the transfer ends"), hash);
    assert_eq!(one.fetch_sha256("fd00::12", 5000).expect("the transfer ends"), hash);
}
