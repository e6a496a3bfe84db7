//! The system's names of services (services(5)), as rules may use them.

use fwd_common::proto::IpProto;

use crate::api::text::ServiceNames;

const FILE: &str = "/etc/services";

/// The names that this host knows; where the file is missing, `dns` alone, which most such files call `domain`.
pub fn read() -> ServiceNames {
    let mut names = std::fs::read_to_string(FILE).map_or_else(|_| ServiceNames::new(), |text| parse(&text));
    names.entry("dns".to_owned()).or_insert_with(|| vec![(IpProto::TCP, 53), (IpProto::UDP, 53)]);
    names
}

fn parse(text: &str) -> ServiceNames {
    let mut names = ServiceNames::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let (Some(name), Some((number, proto))) =
            (words.next(), words.next().and_then(|w| w.split_once('/')))
        else {
            continue;
        };
        let proto = match proto {
            "tcp" => IpProto::TCP,
            "udp" => IpProto::UDP,
            "sctp" => IpProto::SCTP,
            _ => continue,
        };
        let Ok(number) = number.parse() else { continue };
        for name in std::iter::once(name).chain(words) {
            names.entry(name.to_owned()).or_default().push((proto, number));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_aliases_are_known() {
        let names = parse(
            "# comment\nhttp\t80/tcp\twww # WorldWideWeb\ndomain 53/tcp\ndomain 53/udp\nbad\nx 1/ddp\n",
        );
        assert_eq!(names["www"], [(IpProto::TCP, 80)]);
        assert_eq!(names["domain"], [(IpProto::TCP, 53), (IpProto::UDP, 53)]);
        assert_eq!(names.len(), 3);
    }

    #[test]
    fn dns_is_known_on_every_host() {
        assert!(read()["dns"].contains(&(IpProto::UDP, 53)));
    }
}
