//! JSON text as a value, strictly: a key that comes twice is refused, as in YAML. Ten times as fast as reading it as
//! the YAML that it also is; where values stand is left to that.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::MAX_BYTES;
use crate::api::spec::{ApiVersion, Document};

/// The value of a text that is JSON; `None`: read it as YAML, which tells what is wrong and where.
pub fn json_value(text: &str) -> Option<Value> {
    if text.len() > MAX_BYTES || !text.trim_start().starts_with('{') {
        return None;
    }
    serde_json::from_str::<Strict>(text).ok().map(|Strict(value)| value)
}

/// The document of a text that is JSON and has nothing wrong; `None`: read it as a value, which finds out what.
pub fn json_document(text: &str) -> Option<Document> {
    // Which may be left out of a document that the API is given.
    names_its_api(text).then(|| serde_json::from_str(text).ok()).flatten()
}

/// Whether a text is JSON that says to be a document of this API: then it may be given to the daemon, which reads it no
/// less strictly than [`json_document`].
pub fn names_its_api(text: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Asked {
        #[serde(rename = "api")]
        _api: ApiVersion,
    }
    let may_be = text.len() <= MAX_BYTES && text.trim_start().starts_with('{');
    may_be && serde_json::from_str::<Asked>(text).is_ok()
}

/// A map, strictly.
pub fn unique<'de, D, V>(from: D) -> Result<BTreeMap<String, V>, D::Error>
where
    D: Deserializer<'de>,
    V: Deserialize<'de>,
{
    struct Unique<V>(PhantomData<V>);
    impl<'de, V: Deserialize<'de>> Visitor<'de> for Unique<V> {
        type Value = BTreeMap<String, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some((key, value)) = entries.next_entry()? {
                if map.insert(key, value).is_some() {
                    return Err(A::Error::custom("a key comes twice"));
                }
            }
            Ok(map)
        }
    }
    from.deserialize_map(Unique(PhantomData))
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((key, Strict(value))) = entries.next_entry::<String, Strict>()? {
            if map.insert(key, value).is_some() {
                return Err(A::Error::custom("a key comes twice"));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_in_json_is_read_where_nothing_is_wrong() {
        let port = |labels: &str| {
            format!("{{\"name\": \"p\", \"device\": \"d\", \"network\": \"n\", \"labels\": {labels}}}")
        };
        let document = |rest: &str| format!("{{\"api\": \"fwd/v1\", {rest}}}");
        let well = document(&format!("\"ports\": [{}]", port("{\"a\": \"1\", \"b\": \"1\"}")));
        let read = json_document(&well).expect("it is one");
        assert_eq!(read.ports[0].labels.len(), 2);
        for wrong in [
            "{\"ports\": []}".to_owned(),
            "{\"api\": \"fwd/v2\"}".to_owned(),
            document("\"colour\": 1"),
            document("\"ports\": [], \"ports\": []"),
            document("\"settings\": {\"udp_timeout\": \"1s\", \"udp_timeout\": \"2s\"}"),
            document(&format!("\"ports\": [{}]", port("{\"a\": \"1\", \"a\": \"1\"}"))),
            "api: fwd/v1".to_owned(),
        ] {
            assert_eq!(json_document(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_json_is_read_and_the_rest_is_left_to_yaml() {
        let text = "{\"a\": [1, -2, 0.5, null, true, \"x\"], \"b\": {}}";
        assert_eq!(json_value(text), serde_json::from_str(text).ok());
        for other in
            ["a: 1", "{a: 1}", "[1]", "{\"a\": 1, \"a\": 2}", "{\"a\": 1} x", "{\"a\": {\"b\": 1, \"b\": 1}}"]
        {
            assert_eq!(json_value(other), None, "{other}");
        }
    }
}
