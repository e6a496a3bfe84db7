//! A network of libvirt's, with the interfaces that its running domains have there.
//!
//! What the XML says and a document does not is told in notes, by the element's name.
//! Format: libvirt's formatnetwork and formatdomain.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use fwd_common::addr::Mac;
use ipnet::IpNet;
use roxmltree::Node;

use crate::api::{
    spec::{Document, Hook, Mode, Nat, Network, Port, Uplink},
    text::parse_mac,
};

/// What became of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    pub document: Document,
    /// What has no counterpart, and what is to be done: sentences.
    pub notes: Vec<String>,
}

/// Turns a network's XML, and that of running domains, into a document; `uplink` is its uplink where the XML names
/// none.
///
/// # Errors
/// The network's XML is not understood, or is of a kind that has no taps. A clause.
pub fn import(network: &str, domains: &[String], uplink: Option<&str>) -> Result<Imported, String> {
    let xml = roxmltree::Document::parse(network).map_err(|error| format!("it is no XML: {error}"))?;
    let found = xml.root_element();
    let found = if found.has_tag_name("network") { found } else { child(found, "network").unwrap_or(found) };
    let given = text(found, "name").ok_or("it is no network's XML")?;
    let mut imported = Imported::default();
    let bindings = imported.network(found, given, uplink)?;
    let mut names = BTreeSet::new();
    for domain in domains {
        let Ok(xml) = roxmltree::Document::parse(domain) else { continue };
        imported.domain(xml.root_element(), given, (&bindings, &mut names));
    }
    imported.notes.dedup();
    Ok(imported)
}

/// Addresses that the network's DHCP gives to MACs.
type Bindings = BTreeMap<Mac, Vec<IpAddr>>;

impl Imported {
    fn network(&mut self, xml: Node<'_, '_>, given: &str, uplink: Option<&str>) -> Result<Bindings, String> {
        let known = ["name", "uuid", "forward", "bridge", "mac", "ip", "dns", "mtu", "title", "description"];
        self.leave_out(xml, &known, &format!("network {given}"));
        let mode = mode(xml)?;
        let subnets: Vec<IpNet> = children(xml, "ip").map(subnet).collect::<Result<_, _>>()?;
        let uplink = self.uplink(xml, mode, uplink);
        let is_served = mode != Mode::Bridge;
        let dns = child(xml, "dns");
        dns.into_iter().for_each(|dns| self.leave_out(dns, &[], &format!("network {given}, dns")));
        let network = Network {
            name: plain(given),
            mode,
            gateways: subnets.iter().map(IpNet::addr).collect(),
            subnets: subnets.iter().map(IpNet::trunc).collect(),
            uplink: uplink.clone(),
            dhcp: if is_served { Some(dhcp(xml)?) } else { None },
            dns: is_served.then(|| dns.and_then(|dns| dns.attribute("enable")) != Some("no")),
            ntp: Vec::new(),
            mtu: child(xml, "mtu").and_then(|mtu| mtu.attribute("size")?.parse().ok()).unwrap_or(1500),
            default_policy: Default::default(),
            private: false,
            isolate_ports: false,
            nat66: None,
        };
        self.translation(xml, &network.name);
        if is_served {
            self.notes.push(format!(
                "libvirt serves {given} until it is ended: virsh net-destroy {given}; virsh net-autostart --disable {given}."
            ));
        }
        let uplink = uplink.map(|device| Uplink { device, hook: Hook::Auto, take_over: false });
        self.document.uplinks.extend(uplink);
        self.document.networks.push(network);
        Ok(bindings(xml))
    }

    /// A bridge that is there already, or the interface by which what is routed goes out.
    fn uplink(&mut self, xml: Node<'_, '_>, mode: Mode, uplink: Option<&str>) -> Option<String> {
        let found = match mode {
            Mode::Bridge => child(xml, "bridge").and_then(|bridge| bridge.attribute("name")),
            Mode::Nat | Mode::Routed => {
                child(xml, "forward").and_then(|forward| forward.attribute("dev")).or(uplink)
            }
            Mode::Host | Mode::Isolated => return None,
        };
        if found.is_none() {
            self.notes
                .push("Nothing says by which interface it goes out: name it, as --uplink eth0.".to_owned());
        }
        found.map(str::to_owned)
    }

    /// The outside address and L4 ports that a network's XML asks for.
    fn translation(&mut self, xml: Node<'_, '_>, network: &str) {
        let Some(nat) = child(xml, "forward").and_then(|forward| child(forward, "nat")) else { return };
        let ends = |name| {
            let found = child(nat, name)?;
            Some((found.attribute("start")?, found.attribute("end")?))
        };
        let Some((first, last)) = ends("address") else { return };
        if first != last {
            self.notes.push(format!("Of its outside addresses {first} to {last} the first is used."));
        }
        self.document.nats.push(Nat {
            name: format!("{network}-out").chars().take(32).collect(),
            network: Some(network.to_owned()),
            address: first.parse().ok(),
            l4_ports: ends("port").map(|(first, last)| format!("{first}-{last}")),
            one_to_one: None,
            exempt: None,
            prefix: None,
            endpoint_independent: false,
        });
    }

    /// The interfaces that a domain has on the network, each a port.
    fn domain(
        &mut self,
        status: Node<'_, '_>,
        given: &str,
        (bindings, names): (&Bindings, &mut BTreeSet<String>),
    ) {
        let domain = if status.has_tag_name("domain") { Some(status) } else { child(status, "domain") };
        let Some(domain) = domain else { return };
        let (Some(name), Some(devices)) = (text(domain, "name"), child(domain, "devices")) else { return };
        for (index, interface) in children(devices, "interface").enumerate() {
            let source = child(interface, "source").and_then(|source| source.attribute("network"));
            if source != Some(given) {
                continue;
            }
            let known = [
                "mac", "source", "target", "model", "alias", "address", "driver", "link", "boot", "rom",
                "mtu",
            ];
            self.leave_out(interface, &known, &format!("domain {name}, interface {index}"));
            let mac = child(interface, "mac").and_then(|mac| parse_mac(mac.attribute("address")?).ok());
            let wanted = if index == 0 { plain(name) } else { plain(&format!("{name}-{index}")) };
            let port = unused(wanted, names);
            self.document.ports.push(Port {
                name: port,
                device: String::new(),
                libvirt: Some(format!("{name}/{index}")),
                network: plain(given),
                mac: None,
                ips: mac.and_then(|mac| bindings.get(&mac)).cloned().unwrap_or_default(),
                allow_addresses: Vec::new(),
                labels: BTreeMap::new(),
                hook: Hook::Auto,
                trust: false,
                take_over: true,
            });
        }
    }

    /// Tells of elements that mean something and are not known.
    fn leave_out(&mut self, of: Node<'_, '_>, known: &[&str], whose: &str) {
        let elements = of.children().filter(Node::is_element).map(|node| node.tag_name().name());
        let others: BTreeSet<_> = elements.filter(|name| !known.contains(name)).collect();
        self.notes.extend(others.into_iter().map(|name| format!("Left out of {whose}: {name}.")));
    }
}

fn child<'a, 'input>(of: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    of.children().find(|node| node.has_tag_name(name))
}

fn children<'a, 'input: 'a>(of: Node<'a, 'input>, name: &'a str) -> impl Iterator<Item = Node<'a, 'input>> {
    of.children().filter(move |node| node.has_tag_name(name))
}

fn text<'a>(of: Node<'a, '_>, name: &str) -> Option<&'a str> {
    child(of, name)?.text().map(str::trim)
}

fn mode(xml: Node<'_, '_>) -> Result<Mode, String> {
    let Some(forward) = child(xml, "forward") else { return Ok(Mode::Host) };
    let is_of_a_bridge = child(xml, "ip").is_none() && child(xml, "bridge").is_some();
    match forward.attribute("mode").unwrap_or("nat") {
        "nat" => Ok(Mode::Nat),
        "route" | "open" => Ok(Mode::Routed),
        "bridge" if is_of_a_bridge => Ok(Mode::Bridge),
        other => Err(format!("its guests have no taps: its mode is {other}")),
    }
}

/// All ranges of all subnets; none is no DHCP.
fn dhcp(xml: Node<'_, '_>) -> Result<String, String> {
    let range = |range: Node<'_, '_>| {
        let end = |name| range.attribute(name).ok_or_else(|| format!("a DHCP range has no {name}"));
        Ok(format!("{}-{}", end("start")?, end("end")?))
    };
    let ranges: Vec<String> = served(xml, "range").map(range).collect::<Result<_, String>>()?;
    Ok(if ranges.is_empty() { "off".to_owned() } else { ranges.join(",") })
}

fn bindings(xml: Node<'_, '_>) -> Bindings {
    let mut bindings = Bindings::new();
    for host in served(xml, "host") {
        let mac = host.attribute("mac").and_then(|mac| parse_mac(mac).ok());
        let addr = host.attribute("ip").and_then(|addr| addr.parse().ok());
        if let (Some(mac), Some(addr)) = (mac, addr) {
            bindings.entry(mac).or_default().push(addr);
        }
    }
    bindings
}

/// Elements of the DHCP of all subnets.
fn served<'a, 'input: 'a>(xml: Node<'a, 'input>, name: &'a str) -> impl Iterator<Item = Node<'a, 'input>> {
    let dhcp = children(xml, "ip").filter_map(|ip| child(ip, "dhcp"));
    dhcp.flat_map(move |dhcp| children(dhcp, name))
}

/// The gateway's address with the subnet's prefix length.
fn subnet(ip: Node<'_, '_>) -> Result<IpNet, String> {
    let given = ip.attribute("address").ok_or("an ip element has no address")?;
    let addr: IpAddr = given.parse().map_err(|_| format!("{given} is no address"))?;
    let prefix = match (ip.attribute("prefix"), ip.attribute("netmask"), addr) {
        (Some(prefix), _, _) => prefix.parse().ok(),
        (None, Some(mask), IpAddr::V4(_)) => {
            mask.parse().ok().and_then(|mask| ipnet::ip_mask_to_prefix(mask).ok())
        }
        // libvirt's own defaults.
        (None, _, IpAddr::V4(v4)) => Some(match v4.octets()[0] {
            0..128 => 8,
            128..192 => 16,
            _ => 24,
        }),
        (None, _, IpAddr::V6(_)) => Some(64),
    };
    prefix
        .and_then(|prefix| IpNet::new(addr, prefix).ok())
        .ok_or_else(|| format!("{given} has no prefix length"))
}

/// A name as a document has them.
fn plain(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = name.chars().map(plain).take(32).collect();
    let name = name.trim_start_matches('-');
    if name.is_empty() { "libvirt".to_owned() } else { name.to_owned() }
}

/// The name, or the first one that nobody has of those with a number behind.
fn unused(name: String, names: &mut BTreeSet<String>) -> String {
    let numbered = (2..).map(|n| {
        let end = format!("-{n}");
        let start: String = name.chars().take(32 - end.len()).collect();
        start + &end
    });
    let found = std::iter::once(name.clone()).chain(numbered).find(|name| !names.contains(name));
    let found = found.expect("there is no end of numbers");
    names.insert(found.clone());
    found
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NETWORK: &str = "<networkstatus><floor sum='0'/><network>
      <name>Default</name><uuid>9a05da11-e96b-47f3-8253-a3a482e445f5</uuid>
      <forward dev='eth0' mode='nat'>
        <nat><address start='203.0.113.10' end='203.0.113.11'/><port start='20000' end='29999'/></nat>
        <interface dev='eth0'/>
      </forward>
      <bridge name='virbr0' stp='on' delay='0'/><mac address='52:54:00:0a:cd:21'/><mtu size='9000'/>
      <bandwidth><inbound average='1000'/></bandwidth>
      <dns><host ip='192.168.122.2'><hostname>ns</hostname></host></dns>
      <ip address='192.168.122.1' netmask='255.255.255.0'>
        <dhcp>
          <range start='192.168.122.100' end='192.168.122.254'/>
          <host mac='52:54:00:00:00:0b' name='web' ip='192.168.122.11'/>
        </dhcp>
      </ip>
      <ip family='ipv6' address='fd00:122::1' prefix='64'/>
    </network></networkstatus>";

    const WEB: &str = "<domstatus><domain type='kvm'><name>Web_1</name><devices>
      <interface type='network'><mac address='52:54:00:00:00:0b'/>
        <source network='Default' portid='1' bridge='virbr0'/><target dev='vnet0'/><filterref filter='clean-traffic'/>
      </interface>
      <interface type='bridge'><source bridge='br0'/><target dev='vnet1'/></interface>
      <interface type='network'><mac address='52:54:00:00:00:0c'/><source network='Default'/></interface>
    </devices></domain></domstatus>";

    fn imported(network: &str, domains: &[&str]) -> Imported {
        let domains: Vec<_> = domains.iter().map(|domain| (*domain).to_owned()).collect();
        import(network, &domains, Some("eth9")).expect("it is understood")
    }

    fn json(document: &Document) -> Value {
        serde_json::to_value(document).expect("plain data")
    }

    #[test]
    fn a_network_and_its_domains_become_a_document() {
        let twin = WEB.replace("Web_1", "web-1");
        let Imported { document, notes } = imported(NETWORK, &[WEB, &twin, "<domstatus><domain>"]);
        let document = json(&document);
        let network = &document["networks"][0];
        assert_eq!(
            [&network["name"], &network["mode"], &network["uplink"], &network["dhcp"], &network["mtu"]],
            [
                &json!("default"),
                &json!("nat"),
                &json!("eth0"),
                &json!("192.168.122.100-192.168.122.254"),
                &json!(9000)
            ]
        );
        assert_eq!(network["subnets"], json!(["192.168.122.0/24", "fd00:122::/64"]));
        assert_eq!(network["gateways"], json!(["192.168.122.1", "fd00:122::1"]));
        assert_eq!(document["uplinks"], json!([{"device": "eth0", "hook": "auto"}]));
        let port = |port: &Value| json!([port["name"], port["libvirt"], port["ips"], port["take_over"]]);
        let ports: Vec<_> = document["ports"].as_array().expect("a list").iter().map(port).collect();
        assert_eq!(
            json!(ports),
            json!([
                ["web-1", "Web_1/0", ["192.168.122.11"], true],
                ["web-1-2", "Web_1/2", [], true],
                ["web-1-3", "web-1/0", ["192.168.122.11"], true],
                ["web-1-2-2", "web-1/2", [], true],
            ])
        );
        let nat = &document["nats"][0];
        assert_eq!([&nat["address"], &nat["l4_ports"]], [&json!("203.0.113.10"), &json!("20000-29999")]);
        assert_eq!(
            notes,
            [
                "Left out of network Default: bandwidth.",
                "Left out of network Default, dns: host.",
                "Of its outside addresses 203.0.113.10 to 203.0.113.11 the first is used.",
                "libvirt serves Default until it is ended: virsh net-destroy Default; virsh net-autostart --disable Default.",
                "Left out of domain Web_1, interface 0: filterref.",
                "Left out of domain web-1, interface 0: filterref.",
            ]
        );
    }

    #[test]
    fn each_mode_has_its_counterpart_or_is_refused() {
        let network = |inner: &str| format!("<network><name>n</name>{inner}</network>");
        let ip = "<ip address='10.1.0.1' prefix='24'/>";
        for (inner, mode) in [
            (format!("<forward/>{ip}"), "nat"),
            (format!("<forward mode='route'/>{ip}"), "routed"),
            (format!("<forward mode='open'/>{ip}"), "routed"),
            (ip.to_owned(), "host"),
            ("<forward mode='bridge'/><bridge name='br0'/>".to_owned(), "bridge"),
        ] {
            let document = json(&imported(&network(&inner), &[]).document);
            assert_eq!(document["networks"][0]["mode"], mode, "{inner}");
            let is_bridge = mode == "bridge";
            let uplink = match mode {
                "host" => Value::Null,
                "bridge" => json!("br0"),
                _ => json!("eth9"),
            };
            assert_eq!(document["networks"][0]["uplink"], uplink, "{inner}");
            assert_eq!(document["networks"][0]["dhcp"] == "off", !is_bridge, "no range is no DHCP");
        }
        for bad in [
            network("<forward mode='hostdev'/>"),
            network("<forward mode='bridge'><interface dev='eth0'/></forward>"),
            network("<ip address='x'/>"),
            "<domain/>".to_owned(),
            "<network>".to_owned(),
        ] {
            assert!(import(&bad, &[], None).is_err(), "{bad}");
        }
    }
}
