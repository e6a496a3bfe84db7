//! Services and clients, between two namespaces joined by a veth.

use std::time::Duration;

use fwd_tests::netns::Netns;
use fwd_tests::traffic::{BulkSource, Probe, ask_udp, http_get, http_whoami, ping, udp_whoami};
use fwd_tests::{need, skip};

fn pair() -> [Netns; 2] {
    let (client, server) = (Netns::new("client"), Netns::new("server"));
    client.veth("eth0", &server, "eth0");
    for (netns, last) in [(&client, 1), (&server, 2)] {
        netns.address("eth0", &format!("10.0.0.{last}/24"));
        netns.address("eth0", &format!("fd00::{last}/64"));
    }
    [client, server]
}

#[test]
fn services_tell_the_client_its_address() {
    need!(skip::root());
    let [client, server] = pair();
    for (from, at) in [("10.0.0.1:0", "10.0.0.2:80"), ("[fd00::1]:0", "[fd00::2]:80")] {
        let _http = http_whoami(&server, at);
        let _udp = udp_whoami(&server, at);
        let own = from.trim_end_matches('0');
        let page = http_get(&client, at).expect("the server answers");
        assert!(page.starts_with(own), "{page}");
        let answer = ask_udp(&client, from, at, "hello").expect("the server answers");
        assert!(answer.starts_with(own) && answer.ends_with(" hello"), "{answer}");
    }
    assert!(http_get(&client, "10.0.0.2:80").is_err(), "a dropped service has ended");
}

#[test]
fn ping_needs_somebody_there() {
    need!(skip::root());
    let [client, _server] = pair();
    for address in ["10.0.0.2", "fd00::2"] {
        ping(&client, address).expect("the kernel answers");
    }
    assert!(ping(&client, "10.0.0.3").is_err());
}

#[test]
fn bulk_transfers_compare_hashes() {
    need!(skip::root());
    let [client, server] = pair();
    let source = BulkSource::start(&server, "10.0.0.2:5000", 100_000_001);
    let transfer = source.download(&client).expect("the hashes are equal");
    assert_eq!(transfer.bytes, 100_000_001);
    source.download(&client).expect("a second client is served too");
}

#[test]
fn a_probe_sees_no_loss_on_a_whole_link_and_all_loss_on_a_cut_one() {
    need!(skip::root());
    let [client, server] = pair();
    ping(&client, "10.0.0.2").expect("the neighbor is known from here on");
    let probe =
        Probe::start((&client, "10.0.0.1:4000"), "10.0.0.2:4000", (&server, "10.0.0.2:4000"), 100_000);
    std::thread::sleep(Duration::from_secs(1));
    let whole = probe.stop();
    assert_eq!((whole.lost_packets(), whole.duplicates), (0, 0), "{whole:?}");
    assert!(whole.sent > 50_000, "{whole:?}");

    let probe = Probe::start((&client, "10.0.0.1:4000"), "10.0.0.2:4000", (&server, "10.0.0.2:4000"), 10_000);
    std::thread::sleep(Duration::from_millis(200));
    server.run("ip link set eth0 down");
    std::thread::sleep(Duration::from_millis(200));
    let cut = probe.stop();
    // Some: an unresolved neighbor soon holds as much as the socket may have under way, and sending waits.
    assert!(cut.lost_packets() > 100 && cut.received > 500, "{cut:?}");
}
