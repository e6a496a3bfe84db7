//! The kinds of objects that a document has, and an object of any kind.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::spec::{Document, Forward, Group, Nat, Network, Policy, Port, Set, Uplink};

/// A kind of object, in the order of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Noun {
    Uplink,
    Network,
    Port,
    Forward,
    Nat,
    Group,
    Set,
    Policy,
}

impl Noun {
    pub const ALL: [Self; 8] = [
        Self::Uplink,
        Self::Network,
        Self::Port,
        Self::Forward,
        Self::Nat,
        Self::Group,
        Self::Set,
        Self::Policy,
    ];

    /// `port`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uplink => "uplink",
            Self::Network => "network",
            Self::Port => "port",
            Self::Forward => "forward",
            Self::Nat => "nat",
            Self::Group => "group",
            Self::Set => "set",
            Self::Policy => "policy",
        }
    }

    /// `ports`: the list in the document, and the path in the API.
    pub const fn list(self) -> &'static str {
        match self {
            Self::Uplink => "uplinks",
            Self::Network => "networks",
            Self::Port => "ports",
            Self::Forward => "forwards",
            Self::Nat => "nats",
            Self::Group => "groups",
            Self::Set => "sets",
            Self::Policy => "policies",
        }
    }

    /// Of `ports`.
    pub fn of_list(list: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|noun| noun.list() == list)
    }
}

impl fmt::Display for Noun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An object of any kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Object {
    Uplink(Uplink),
    Network(Network),
    Port(Port),
    Forward(Forward),
    Nat(Nat),
    Group(Group),
    Set(Set),
    Policy(Policy),
}

/// What all kinds of objects have: a list in the document, and a name there.
pub trait Named: Sized + 'static {
    const NOUN: Noun;
    fn name(&self) -> &str;
    /// In the order of the document.
    fn list(document: &Document) -> impl Iterator<Item = &Self>;
}

macro_rules! named {
    ($($type:ident $list:ident $name:ident;)*) => {
        $(impl Named for $type {
            const NOUN: Noun = Noun::$type;

            fn name(&self) -> &str {
                &self.$name
            }

            fn list(document: &Document) -> impl Iterator<Item = &Self> {
                document.$list.iter()
            }
        })*

        impl Object {
            pub fn noun(&self) -> Noun {
                match self { $(Self::$type(_) => Noun::$type,)* }
            }

            pub fn name(&self) -> &str {
                match self { $(Self::$type(object) => object.name(),)* }
            }

            /// The object without its kind, as it stands in its list of the document.
            ///
            /// # Errors
            /// None in practice: every field is plain data.
            pub fn to_json(&self) -> serde_json::Result<serde_json::Value> {
                match self { $(Self::$type(object) => serde_json::to_value(object),)* }
            }

            /// The inverse of [`Self::to_json`].
            ///
            /// # Errors
            /// Names the field that is missing, unknown or of the wrong type.
            pub fn from_json(noun: Noun, json: serde_json::Value) -> serde_json::Result<Self> {
                match noun { $(Noun::$type => serde_json::from_value(json).map(Self::$type),)* }
            }
        }

        impl Document {
            /// All objects, in the order of the document.
            pub fn objects(&self) -> Vec<Object> {
                let mut all = Vec::new();
                $(all.extend(self.$list.iter().cloned().map(Object::$type));)*
                all
            }

            /// One object.
            pub fn object(&self, noun: Noun, name: &str) -> Option<Object> {
                match noun {
                    $(Noun::$type => self.find::<$type>(name).cloned().map(Object::$type),)*
                }
            }

            /// Whether there is an object of a kind and a name.
            pub fn has(&self, noun: Noun, name: &str) -> bool {
                match noun { $(Noun::$type => self.find::<$type>(name).is_some(),)* }
            }

            /// Appends an object, or puts it in the place of the one of its name.
            pub fn put(&mut self, object: Object) {
                match object {
                    $(Object::$type(new) => match self.$list.iter().position(|o| o.$name == new.$name) {
                        Some(index) => self.$list[index] = new,
                        None => self.$list.extend([new]),
                    },)*
                }
            }

            /// Appends an object that is known not to be there.
            pub fn append(&mut self, object: Object) {
                match object { $(Object::$type(new) => self.$list.extend([new]),)* }
            }

            /// Takes an object out, if it is there.
            pub fn remove(&mut self, noun: Noun, name: &str) {
                match noun {
                    $(Noun::$type => {
                        let index = self.$list.iter().position(|o| o.$name == name);
                        index.into_iter().for_each(|index| _ = self.$list.remove(index));
                    })*
                }
            }
        }
    };
}

named! {
    Uplink uplinks device;
    Network networks name;
    Port ports name;
    Forward forwards name;
    Nat nats name;
    Group groups name;
    Set sets name;
    Policy policies name;
}

impl Document {
    /// The object of a type and name.
    pub fn find<T: Named>(&self, name: &str) -> Option<&T> {
        T::list(self).find(|object| object.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_object_carries_its_kind_in_json() {
        let json = json!({"kind": "uplink", "device": "eth0", "hook": "auto"});
        let object: Object = serde_json::from_value(json.clone()).expect("an uplink");
        assert_eq!((object.noun(), object.name()), (Noun::Uplink, "eth0"));
        assert_eq!(serde_json::to_value(&object).expect("json"), json);
        let unknown = json!({"kind": "uplink", "device": "eth0", "colour": "red"});
        assert!(serde_json::from_value::<Object>(unknown).is_err());
    }

    #[test]
    fn a_document_finds_replaces_and_removes_by_name() {
        let uplink = |hook: &str| {
            Object::from_json(Noun::Uplink, json!({"device": "eth0", "hook": hook})).expect("an uplink")
        };
        let mut document = Document::default();
        document.put(uplink("auto"));
        document.put(uplink("tcx"));
        assert_eq!(document.objects(), [uplink("tcx")]);
        assert_eq!(document.object(Noun::Uplink, "eth0"), Some(uplink("tcx")));
        document.remove(Noun::Uplink, "eth0");
        assert_eq!(document, Document::default());
    }
}
