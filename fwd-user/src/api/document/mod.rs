//! From YAML text to a [`Document`], telling every problem at once, each with its place in the text.
//!
//! The text is read into a tree that knows positions; the tree becomes JSON, object by object checked
//! against the schema. What is wrong is told and left out, so that the rest is still looked at: by the
//! caller too, whose problems name their place by JSON pointer ([`Text::place`]).

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde_json::Value;

mod json;
mod words;
mod yaml;

pub use words::{object, problem};
pub use yaml::{MAX_BYTES, Place, yaml_value};

pub use json::names_its_api;
pub(super) use json::unique;
use json::{json_document, json_value};
use words::{in_words, inner_pointer, remove};
use yaml::{Places, escape};

use super::{
    error::{ApiError, Code, Problem},
    object::Noun,
    spec::{API, Document},
};

/// What a text says, and where it says it.
#[derive(Clone, Debug, Default)]
pub struct Text {
    pub document: Document,
    /// What the text itself has wrong; what they concern is missing in `document`.
    pub problems: Vec<Problem>,
    places: Places,
    /// Names of objects that are missing in `document`: what refers to them is no problem of its own.
    dropped: BTreeSet<String>,
    /// By list: the place in the text's list of each object in `document`.
    kept: BTreeMap<String, Vec<usize>>,
    value: Value,
    /// The text, where it was read without places.
    unplaced: Option<String>,
}

impl Text {
    /// Reads a document. Never fails: what is wrong stands in `problems`.
    pub fn read(text: &str) -> Self {
        if let Some(document) = json_document(text) {
            return Self { document, unplaced: Some(text.to_owned()), ..Self::default() };
        }
        if let Some(value) = json_value(text).or_else(|| yaml_value(text).ok()) {
            let mut read = Self { unplaced: Some(text.to_owned()), ..Self::default() };
            read.check(value);
            if read.problems.is_empty() {
                return read;
            }
        }
        Self::read_yaml(text)
    }

    fn read_yaml(text: &str) -> Self {
        let mut read = Self::default();
        match read.places.read(text) {
            Ok(value) => {
                read.value = value.clone();
                read.check(value);
            }
            Err((place, message)) => {
                read.places.values.insert(String::new(), place);
                let hint = "Mend the YAML; quote text that holds any of : # { } [ ] , & * ! | > ' \" %.";
                read.problems.push(problem(Code::BadYaml, "", "document", &message, hint));
            }
        }
        read
    }

    /// Where a pointer's value stands; of one that the text does not have, its nearest parent.
    pub fn place(&self, pointer: &str) -> Place {
        let mut at = pointer;
        loop {
            if let Some(place) = self.places.values.get(at) {
                return *place;
            }
            match at.rfind('/') {
                Some(cut) => at = &at[..cut],
                None => return Place { line: 1, column: 1 },
            }
        }
    }

    /// Problems of `document` as problems of the text, but for those that only follow from what the text
    /// itself has wrong.
    pub fn in_text(&self, problems: Vec<Problem>) -> Vec<Problem> {
        let problems = problems.into_iter().map(|p| Problem { path: self.text_pointer(&p.path), ..p });
        problems.filter(|p| !self.follows(&p.path)).collect()
    }

    /// The text's pointer of one of `document`: dropped objects count in the text only.
    fn text_pointer(&self, pointer: &str) -> String {
        let mut steps = pointer.splitn(4, '/').skip(1);
        let (Some(list), Some(index)) = (steps.next(), steps.next()) else { return pointer.to_owned() };
        let kept = self.kept.get(list).zip(index.parse::<usize>().ok()).and_then(|(k, i)| k.get(i));
        match (kept, steps.next()) {
            (Some(n), Some(rest)) => format!("/{list}/{n}/{rest}"),
            (Some(n), None) => format!("/{list}/{n}"),
            (None, _) => pointer.to_owned(),
        }
    }

    /// What came of giving the document to the daemon, with the text's own problems: one error for all, each
    /// with its file, line and column, in the order of the text.
    ///
    /// # Errors
    /// The daemon's, or what is wrong with the text.
    pub fn outcome<T>(&self, file: &str, answer: Result<T, ApiError>) -> Result<T, ApiError> {
        if let (Err(ApiError { problems, .. }), Some(text)) = (&answer, &self.unplaced)
            && !problems.is_empty()
        {
            return Self::read_yaml(text).outcome(file, answer);
        }
        let mut problems = self.problems.clone();
        match &answer {
            Err(error) if !error.problems.is_empty() => problems.extend(self.in_text(error.problems.clone())),
            Err(error) if problems.is_empty() => return Err(error.clone()),
            _ => {}
        }
        if problems.is_empty() {
            return answer;
        }
        let mut placed: Vec<_> = problems.into_iter().map(|p| (self.place(&p.path), p)).collect();
        placed.sort_by(|a, b| (a.0, &a.1.path).cmp(&(b.0, &b.1.path)));
        placed.dedup();
        let problems = placed.into_iter().map(|(place, problem)| Problem {
            message: format!("{file}:{}:{}: {}", place.line, place.column, problem.message),
            ..problem
        });
        Err(ApiError::from_problems(problems.collect()))
    }

    fn follows(&self, pointer: &str) -> bool {
        let names = |text: &str| {
            text.split([':', ',']).any(|word| self.dropped.contains(word)) || self.dropped.contains(text)
        };
        self.value.pointer(pointer).and_then(Value::as_str).is_some_and(names)
    }

    fn check(&mut self, value: Value) {
        let Value::Object(mut map) = value else {
            let hint = format!(
                "Begin with `api: {API}`, then uplinks, networks, ports, forwards, nats, groups, sets, policies."
            );
            return self.tell("", "a document is a mapping", &hint);
        };
        match map.remove("api") {
            Some(Value::String(api)) if api == API => {}
            Some(other) => {
                self.tell("/api", &format!("api {other} is not known"), &format!("Write `api: {API}`."))
            }
            None => self.tell("", "api is missing", &format!("Write `api: {API}` at the top.")),
        }
        let mut document = Document::default();
        for (key, value) in map {
            let pointer = format!("/{}", escape(&key));
            match key.as_str() {
                "settings" => document.settings = self.object(value, &pointer).unwrap_or_default(),
                "uplinks" => document.uplinks = self.objects(value, &pointer, "device"),
                "networks" => document.networks = self.objects(value, &pointer, "name"),
                "ports" => document.ports = self.objects(value, &pointer, "name"),
                "forwards" => document.forwards = self.objects(value, &pointer, "name"),
                "nats" => document.nats = self.objects(value, &pointer, "name"),
                "groups" => document.groups = self.objects(value, &pointer, "name"),
                "sets" => document.sets = self.objects(value, &pointer, "name"),
                "policies" => document.policies = self.objects(value, &pointer, "name").into(),
                _ => {
                    self.point_at_key(&pointer);
                    let known = "Known are api, settings, uplinks, networks, ports, forwards, nats, groups, sets, policies.";
                    self.tell(&pointer, &format!("{key} is not part of a document"), known);
                }
            }
        }
        self.document = document;
    }

    fn objects<T: DeserializeOwned>(&mut self, value: Value, pointer: &str, name_field: &str) -> Vec<T> {
        let items = match value {
            Value::Null => return Vec::new(),
            Value::Array(items) => items,
            _ => {
                self.tell(pointer, "a list is wanted here", "Begin each item with `- `.");
                return Vec::new();
            }
        };
        let mut out = Vec::with_capacity(items.len());
        for (i, item) in items.into_iter().enumerate() {
            let name = item.get(name_field).and_then(Value::as_str).map(str::to_owned);
            match self.object(item, &format!("{pointer}/{i}")) {
                Some(object) => {
                    out.push(object);
                    self.kept.entry(pointer[1..].to_owned()).or_default().push(i);
                }
                None => self.dropped.extend(name),
            }
        }
        out
    }

    /// One object. Each thing wrong in it is told, left out, and the rest tried again.
    fn object<T: DeserializeOwned>(&mut self, mut value: Value, pointer: &str) -> Option<T> {
        // Nearly all are well, and knowing where one is not costs as much as the rest.
        if let Ok(object) = T::deserialize(&value) {
            return Some(object);
        }
        let mut left_out = Vec::new();
        loop {
            let error = match serde_path_to_error::deserialize::<_, T>(&value) {
                Ok(object) => return Some(object),
                Err(error) => error,
            };
            let inner = inner_pointer(&value, error.path());
            let text = error.into_inner().to_string();
            let (message, hint) = in_words(&text, value.pointer(&inner));
            if left_out.iter().any(|field| text == format!("missing field `{field}`")) {
                return None;
            }
            let at = format!("{pointer}{inner}");
            if text.starts_with("unknown field") {
                self.point_at_key(&at);
            }
            self.tell(&at, &message, &hint);
            let field = remove(&mut value, &inner)?;
            left_out.push(field);
        }
    }

    fn tell(&mut self, pointer: &str, message: &str, hint: &str) {
        let object = self.object_at(pointer);
        self.problems.push(problem(Code::BadStructure, pointer, &object, message, hint));
    }

    /// It is the key that is wrong, not its value.
    fn point_at_key(&mut self, pointer: &str) {
        if let Some(place) = self.places.keys.get(pointer) {
            self.places.values.insert(pointer.to_owned(), *place);
        }
    }

    /// What a pointer points into, for people: `port web1`, or `ports, item 3` where the name is missing.
    fn object_at(&self, pointer: &str) -> String {
        let mut steps = pointer.split('/').skip(1);
        let kind = steps.next().and_then(Noun::of_list);
        let (Some(kind), Some(index)) = (kind, steps.next()) else { return "document".to_owned() };
        let name_field = if kind == Noun::Uplink { "device" } else { "name" };
        let name = self.value.pointer(&format!("/{}/{index}/{name_field}", kind.list()));
        match name.and_then(Value::as_str) {
            Some(name) => format!("{kind} {name}"),
            None => format!("{}, item {}", kind.list(), index.parse::<usize>().map_or(0, |n| n + 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn problems(text: &str) -> String {
        let read = Text::read(text);
        read.problems.iter().fold(String::new(), |out, p| {
            let at = read.place(&p.path);
            format!("{out}{}:{}: {} {}\n", at.line, at.column, p.message, p.hints.join(" "))
        })
    }

    fn check(text: &str, expected: Expect) {
        expected.assert_eq(&problems(text));
    }

    #[test]
    fn clients_of_a_forward_are_one_or_many() {
        let forward = |from: &str| {
            format!("api: fwd/v1\nforwards:\n- {{name: f, listen: \"tcp:1\", to: \"a:1\", from: {from}}}\n")
        };
        for from in ["192.0.2.1", "192.0.2.1/32", "[192.0.2.1]"] {
            let document = Text::read(&forward(from)).document;
            assert_eq!(document.forwards[0].from, ["192.0.2.1/32".parse().expect("a CIDR")], "{from}");
        }
        check(
            &forward("[192.0.2.0/24, office]"),
            expect![[r#"
                3:47: Forward f: `office` is neither CIDR nor address. Write one such as 10.10.0.11, fd00:10::11 or 10.10.0.0/24.
            "#]],
        );
        check(
            &forward("[192.0.2.0/33]"),
            expect![[r#"
                3:47: Forward f: `192.0.2.0/33` is neither CIDR nor address. Write one such as 10.10.0.11, fd00:10::11 or 10.10.0.0/24.
            "#]],
        );
        check(
            &forward("7"),
            expect![[r#"
            3:47: Forward f: a text or a list of texts is wanted. 
        "#]],
        );
    }

    #[test]
    fn an_address_is_a_cidr_and_a_number_an_l4_port() {
        let read = Text::read(
            "api: fwd/v1\nsets: [{name: s, cidrs: [192.0.2.7, \"fd00::1\"]}]\n\
             policies:\n- {name: a, action: deny, source_l4_ports: [53, 1024-65535]}\n\
             - {name: b, action: deny, source_l4_ports: 53}\n",
        );
        assert_eq!(read.problems, []);
        assert_eq!(
            read.document.sets[0].cidrs.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["192.0.2.7/32", "fd00::1/128"]
        );
        let ports = |n: usize| &read.document.policies[n].source_l4_ports;
        assert_eq!(
            (ports(0).as_slice(), ports(1).as_slice()),
            (&["53".to_owned(), "1024-65535".to_owned()][..], &["53".to_owned()][..])
        );
        check(
            "api: fwd/v1\npolicies: [{name: a, action: deny, source_l4_ports: [70000]}]\n",
            expect![[r#"
                2:53: Policy a: L4 ports are wanted, such as 53 and 1024-65535. 
            "#]],
        );
        check(
            "api: fwd/v1\nnetworks: [{name: a, mode: nat, subnets: [10.0.0.0/99]}]\n",
            expect![[r#"
                2:43: Network a: 10.0.0.0/99 is no address. Write one such as 10.10.0.11, fd00:10::11 or 10.10.0.0/24.
            "#]],
        );
    }

    #[test]
    fn every_problem_is_told_at_its_place() {
        check(
            "api: fwd/v1\nnetworks:\n- name: a\n  mode: natt\n  mtu: big\n  colour: red\n- mode: nat\nports: 5\nfoo: 1\n",
            expect![[r#"
                9:1: Document: foo is not part of a document. Known are api, settings, uplinks, networks, ports, forwards, nats, groups, sets, policies.
                4:9: Network a: natt is not possible here. Write one of nat, routed, bridge, host, isolated.
                6:3: Network a: colour is not known here. Known are name, mode, subnets, gateways, uplink, dhcp, dns, ntp, mtu, default_policy, private, isolate_ports, nat66.
                5:8: Network a: "big" is not possible here. Write a number from 0 to 65535.
                7:3: Networks, item 2: name is missing. Add `name: …`.
                8:8: Document: a list is wanted here. Begin each item with `- `.
            "#]],
        );
    }

    #[test]
    fn what_is_no_yaml_is_told_with_its_place() {
        check(
            "api: fwd/v1\nports: [\n",
            expect![[r#"
                3:1: Document: while parsing a node, did not find expected node content. Mend the YAML; quote text that holds any of : # { } [ ] , & * ! | > ' " %.
            "#]],
        );
        check(
            "- 1\n",
            expect![[r#"
                1:1: Document: a document is a mapping. Begin with `api: fwd/v1`, then uplinks, networks, ports, forwards, nats, groups, sets, policies.
            "#]],
        );
        check(
            "",
            expect![[r#"
                1:1: Document: a document is a mapping. Begin with `api: fwd/v1`, then uplinks, networks, ports, forwards, nats, groups, sets, policies.
            "#]],
        );
        check(
            "api: fwd/v2\n---\napi: fwd/v1\n",
            expect![[r#"
                3:1: Document: a second YAML document begins here. Mend the YAML; quote text that holds any of : # { } [ ] , & * ! | > ' " %.
            "#]],
        );
        check(
            "api: fwd/v1\napi: fwd/v1\n",
            expect![[r#"
                2:1: Document: duplicated key in mapping. Mend the YAML; quote text that holds any of : # { } [ ] , & * ! | > ' " %.
            "#]],
        );
        check(
            "api: fwd/v1\nports: !x [1]\n",
            expect![[r#"
                2:8: Document: the tag !x means nothing here. Mend the YAML; quote text that holds any of : # { } [ ] , & * ! | > ' " %.
            "#]],
        );
        check(
            &"[".repeat(100_000),
            expect![[r#"
                1:65: Document: brackets are nested too deep. Mend the YAML; quote text that holds any of : # { } [ ] , & * ! | > ' " %.
            "#]],
        );
    }

    #[test]
    fn one_string_stands_for_a_list_of_one() {
        let text = "api: fwd/v1\npolicies: [{name: a, action: deny, to: port:x, services: [tcp/80]}]\n";
        let read = Text::read(text);
        assert_eq!(read.problems, []);
        assert_eq!(read.document.policies[0].to, ["port:x"]);
    }

    #[test]
    fn what_only_follows_from_a_dropped_object_is_not_told() {
        let text = "api: fwd/v1\nnetworks: [{name: a}]\nports: [{name: p, device: d, network: a}]\n";
        let read = Text::read(text);
        let follower = problem(Code::UnknownReference, "/ports/0/network", "port p", "no network a", "");
        let own = problem(Code::BadValue, "/ports/0/device", "port p", "bad", "");
        assert_eq!(read.in_text(vec![follower, own.clone()]), [own]);
    }
}
