//! YAML text as a JSON value, with the place of each value and key by JSON pointer (RFC 6901).

use std::{
    collections::BTreeMap,
    fmt::{self, Display},
};

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};
use serde_json::{Map, Value};

/// The largest document that is read.
pub const MAX_BYTES: usize = 64 << 20;

/// A place in the text, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

/// Where values and keys stand.
#[derive(Clone, Debug, Default)]
pub struct Places {
    pub values: BTreeMap<String, Place>,
    pub keys: BTreeMap<String, Place>,
}

impl Places {
    /// The JSON value of a text.
    ///
    /// # Errors
    /// What is wrong, with its place.
    pub fn read(&mut self, text: &str) -> Result<Value, (Place, String)> {
        read(text, Some((self, String::new())))
    }
}

/// The value of a YAML text, without the places of what is in it: in half the time.
///
/// # Errors
/// What is wrong, with its place.
pub fn yaml_value(text: &str) -> Result<Value, (Place, String)> {
    read(text, None)
}

/// Where places are noted, and the pointer of what is read.
type Noted<'a> = Option<(&'a mut Places, String)>;

fn read(text: &str, noted: Noted<'_>) -> Result<Value, (Place, String)> {
    let start = Place { line: 1, column: 1 };
    if text.len() > MAX_BYTES {
        return Err((start, format!("the document is larger than {} MiB", MAX_BYTES >> 20)));
    }
    if let Some(place) = too_deep(text) {
        return Err((place, "brackets are nested too deep".to_owned()));
    }
    let documents =
        MarkedYaml::load_from_str(text).map_err(|e| (place_of(e.marker()), e.info().to_owned()))?;
    match documents.as_slice() {
        [] => Ok(Value::Null),
        [one] => value_of(one, noted),
        [_, second, ..] => {
            Err((place_of(&second.span.start), "a second YAML document begins here".to_owned()))
        }
    }
}

fn value_of(node: &MarkedYaml<'_>, mut noted: Noted<'_>) -> Result<Value, (Place, String)> {
    let place = place_of(&node.span.start);
    let value = match &node.data {
        YamlData::Value(scalar) => scalar_value(scalar),
        YamlData::Sequence(items) => {
            let items = items.iter().enumerate();
            Value::Array(items.map(|(i, n)| value_of(n, inside(&mut noted, i))).collect::<Result<_, _>>()?)
        }
        YamlData::Mapping(entries) => {
            let mut map = Map::new();
            for (key, child) in entries {
                let at = place_of(&key.span.start);
                let YamlData::Value(Scalar::String(name)) = &key.data else {
                    return Err((at, "a key is not text".to_owned()));
                };
                let mut noted = inside(&mut noted, Step(name));
                if let Some((places, pointer)) = &mut noted {
                    places.keys.insert(pointer.clone(), at);
                }
                map.insert(name.to_string(), value_of(child, noted)?);
            }
            Value::Object(map)
        }
        YamlData::Tagged(tag, _) => return Err((place, format!("the tag {tag} means nothing here"))),
        YamlData::Representation(..) | YamlData::BadValue | YamlData::Alias(_) => {
            return Err((place, "this cannot be read as YAML".to_owned()));
        }
    };
    if let Some((places, pointer)) = noted {
        places.values.insert(pointer, place);
    }
    Ok(value)
}

/// One step further in.
fn inside<'a>(noted: &'a mut Noted<'_>, step: impl Display) -> Noted<'a> {
    noted.as_mut().map(|(places, pointer)| (&mut **places, format!("{pointer}/{step}")))
}

/// A key as a step, escaped only where somebody asks.
struct Step<'a>(&'a str);

impl Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(self.0))
    }
}

/// The parser recurses once a bracket; this keeps its stack small.
fn too_deep(text: &str) -> Option<Place> {
    const DEEPEST: usize = 64;
    let mut depth = 0usize;
    for (n, line) in text.lines().enumerate() {
        for (column, byte) in line.bytes().enumerate() {
            match byte {
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth > DEEPEST {
                return Some(Place { line: n + 1, column: column + 1 });
            }
        }
    }
    None
}

fn place_of(marker: &saphyr::Marker) -> Place {
    Place { line: marker.line(), column: marker.col() + 1 }
}

fn scalar_value(scalar: &Scalar<'_>) -> Value {
    match scalar {
        Scalar::Null => Value::Null,
        Scalar::Boolean(b) => Value::Bool(*b),
        Scalar::Integer(i) => Value::from(*i),
        Scalar::FloatingPoint(f) => Value::from(f.into_inner()),
        Scalar::String(s) => Value::from(s.as_ref()),
    }
}

/// A key as a step of a JSON pointer (RFC 6901, 3).
pub fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
