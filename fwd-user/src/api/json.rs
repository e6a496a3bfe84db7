//! An object as JSON text: written once, and shared by all who keep or tell it. A document has a hundred thousand
//! rules, and an edit of all of them is kept, logged and answered; a tree of values a rule would cost as often.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};

/// JSON text. Two are equal if their texts are.
#[derive(Clone, Debug)]
pub struct Json(Arc<RawValue>);

impl Json {
    /// # Panics
    /// If it has what JSON has not, as a map whose keys are no text; no object of a document does.
    pub fn of(object: &impl Serialize) -> Self {
        Self(to_raw_value(object).expect("every field of an object is plain data").into())
    }

    pub fn text(&self) -> &str {
        self.0.get()
    }

    pub fn value(&self) -> Value {
        self.read().expect("any JSON is a value")
    }

    /// # Errors
    /// It is no such object.
    pub fn read<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_str(self.text())
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Json {}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(from).map(|text| Self(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_told_as_it_was_written() {
        let object = json!({"b": 1, "a": [null, "x"]});
        let json = Json::of(&object);
        assert_eq!(json.text(), "{\"b\":1,\"a\":[null,\"x\"]}");
        assert_eq!((json.value(), serde_json::to_value(&json).ok()), (object.clone(), Some(object)));
        let told = serde_json::to_string(&[Some(json.clone()), None]).expect("plain data");
        assert_eq!(told, format!("[{},null]", json.text()));
        assert_eq!(serde_json::from_str::<Vec<Option<Json>>>(&told).expect("as told"), [Some(json), None]);
    }
}
