//! Interfaces in namespaces: veth pairs, taps, bridges, their addresses and device settings.
//!
//! Everything is said to `ip` and `ethtool`, so a failing step prints what one would type. Interfaces go
//! with their namespace.

use crate::frame::Mac;
use crate::lab::eventually;
use crate::netns::Netns;

/// Whether frames carry a virtio-net header between the tap and who has it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VnetHeader {
    Off,
    On,
}

impl Netns {
    /// A veth pair: `name` here, `peer_name` in `peer`; both up, and frames pass.
    #[track_caller]
    pub fn veth(&self, name: &str, peer: &Self, peer_name: &str) {
        self.cable(name, peer, peer_name, "");
    }

    /// The same, with a MAC for the peer's end, which sends nothing under another one.
    #[track_caller]
    pub fn veth_with_mac(&self, name: &str, peer: &Self, peer_name: &str, mac: Mac) {
        self.cable(name, peer, peer_name, &format!("address {mac}"));
    }

    #[track_caller]
    fn cable(&self, name: &str, peer: &Self, peer_name: &str, options: &str) {
        let peer_end = format!("name {peer_name} {options} netns {}", peer.name());
        self.run(&format!("ip link add {name} type veth peer {peer_end}"));
        self.up(name);
        peer.up(peer_name);
        self.settle();
        peer.settle();
    }

    /// A persistent tap, up, as libvirt makes it before QEMU opens it.
    #[track_caller]
    pub fn tap(&self, name: &str, header: VnetHeader) {
        let vnet_hdr = if header == VnetHeader::On { " vnet_hdr" } else { "" };
        self.run(&format!("ip tuntap add dev {name} mode tap{vnet_hdr}"));
        self.up(name);
    }

    /// A Linux bridge, up, without spanning tree.
    #[track_caller]
    pub fn bridge(&self, name: &str) {
        self.run(&format!("ip link add {name} type bridge forward_delay 0 stp_state 0"));
        self.up(name);
    }

    #[track_caller]
    pub fn enslave(&self, device: &str, bridge: &str) {
        self.run(&format!("ip link set {device} master {bridge}"));
    }

    #[track_caller]
    pub fn up(&self, device: &str) {
        self.run(&format!("ip link set {device} up"));
    }

    #[track_caller]
    pub fn set_mac(&self, device: &str, mac: impl Into<Mac>) {
        self.run(&format!("ip link set {device} address {}", mac.into()));
    }

    /// Adds an address with its prefix, such as `10.0.0.1/24`; IPv6 at once, without address detection.
    #[track_caller]
    pub fn address(&self, device: &str, cidr: &str) {
        let nodad = if cidr.contains(':') { " nodad" } else { "" };
        self.run(&format!("ip address add {cidr} dev {device}{nodad}"));
    }

    /// Default route of the gateway's family; in place of one that the gateway has advertised by now.
    #[track_caller]
    pub fn default_route(&self, gateway: &str) {
        let family = if gateway.contains(':') { "-6" } else { "-4" };
        self.run(&format!("ip {family} route replace default via {gateway}"));
    }

    /// `ethtool -K device settings`, such as `"tx off"`.
    #[track_caller]
    pub fn offload(&self, device: &str, settings: &str) {
        self.run(&format!("ethtool -K {device} {settings}"));
    }

    /// Makes a veth end able to receive what XDP redirects into its peer: NAPI, which GRO brings along.
    /// Toggled, because the kernel starts NAPI only when the setting changes on an interface that is up.
    #[track_caller]
    pub fn receive_from_xdp(&self, device: &str) {
        self.offload(device, "gro off");
        self.offload(device, "gro on");
    }

    /// Makes a veth end send frames that XDP can carry: checksums final, no segmentation left to do.
    #[track_caller]
    pub fn send_to_xdp(&self, device: &str) {
        self.offload(device, "tx off tso off gso off");
    }

    #[must_use]
    #[track_caller]
    pub fn mac_of(&self, device: &str) -> Mac {
        let link = self.link_json(device);
        Mac::from(link["address"].as_str().expect("every link has an address"))
    }

    #[must_use]
    #[track_caller]
    pub fn ifindex(&self, device: &str) -> u32 {
        let link = self.link_json(device);
        let index = link["ifindex"].as_u64().expect("every link has an index");
        u32::try_from(index).expect("interface indexes have 32 bits")
    }

    /// One statistic of `ip -s link`, such as `("rx", "packets")`.
    #[must_use]
    #[track_caller]
    pub fn statistic(&self, device: &str, direction: &str, name: &str) -> u64 {
        let link = self.link_json(device);
        link["stats64"][direction][name]
            .as_u64()
            .unwrap_or_else(|| panic!("{device} has no {direction} {name}"))
    }

    /// Waits until the kernel has done all that follows from its devices' carriers: it gives a device a queue in
    /// place of a sink, an operational state and a link-local address some time after (`linkwatch`).
    ///
    /// # Panics
    /// If it does not come to that.
    #[track_caller]
    pub fn settle(&self) {
        let has_settled = || {
            let links = self.run("ip -j link");
            let links: Vec<serde_json::Value> = serde_json::from_str(&links).expect("ip prints JSON");
            links.iter().all(has_settled) && self.run("ip -6 address show tentative").is_empty()
        };
        assert!(eventually(has_settled), "{}", self.run("ip address"));
    }

    #[track_caller]
    fn link_json(&self, device: &str) -> serde_json::Value {
        let text = self.run(&format!("ip -j -s -d link show dev {device}"));
        let links: Vec<serde_json::Value> = serde_json::from_str(&text).expect("ip prints JSON");
        links.into_iter().next().expect("ip shows the link or fails")
    }
}

/// Of a link as `ip -j link` tells it.
fn has_settled(link: &serde_json::Value) -> bool {
    let carries = link["flags"].as_array().is_some_and(|flags| flags.contains(&"LOWER_UP".into()));
    match link["operstate"].as_str() {
        Some("UP") => carries,
        Some("DOWN" | "LOWERLAYERDOWN") => !carries,
        _ => true,
    }
}
