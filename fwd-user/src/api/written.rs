//! How people may write a field: one value for a list of one, an address for a CIDR, a number for an L4 port.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use serde::{
    Deserialize,
    de::{Error, SeqAccess, Visitor, value::SeqAccessDeserializer},
};

/// A list of texts, or one text.
///
/// # Errors
/// It is neither.
pub fn one_or_many<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    struct OneOrMany;
    impl OneOrMany {
        const WANTED: &str = "a text or a list of texts is wanted";
    }
    impl<'de> Visitor<'de> for OneOrMany {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(Self::WANTED)
        }

        fn visit_str<E>(self, one: &str) -> Result<Self::Value, E> {
            Ok(vec![one.to_owned()])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, many: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(many))
        }
    }
    d.deserialize_any(OneOrMany).map_err(|_| D::Error::custom(OneOrMany::WANTED))
}

/// L4 ports and ranges, one or many; YAML and JSON have a single one as a number.
///
/// # Errors
/// It is neither texts nor numbers of 16 bits.
pub fn l4_ports<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(u16),
        Text(String),
        Many(Vec<Written>),
    }
    fn texts(written: Written) -> Vec<String> {
        match written {
            Written::Number(number) => vec![number.to_string()],
            Written::Text(text) => vec![text],
            Written::Many(many) => many.into_iter().flat_map(texts).collect(),
        }
    }
    const WANTED: &str = "L4 ports are wanted, such as 53 and 1024-65535";
    Written::deserialize(d).map(texts).map_err(|_| D::Error::custom(WANTED))
}

/// CIDRs, one or many, and addresses as those of one.
///
/// # Errors
/// Names the text that is neither.
pub fn one_or_many_cidrs<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Vec<IpNet>, D::Error> {
    let cidr = |text: &String| text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let wrong = |text: &String| Error::custom(format_args!("`{text}` is neither CIDR nor address"));
    one_or_many(d)?.iter().map(|text| cidr(text).map_err(|_| wrong(text))).collect()
}
