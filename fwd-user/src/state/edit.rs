//! The edits: what may be done to the accepted document, all or nothing.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use crate::api::{
    error::{ApiError, Code, Problem},
    object::{Named, Noun, Object},
    settings,
    spec::{Document, Hook, Policy, Uplink},
    text::{Moment, ServiceNames},
};

use super::{
    Change, Desired, change::changes, expiry::expire, naming, problem::capitalized, rule, users::users,
    validate,
};

/// What may be asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// The whole document at once.
    Replace(Document),
    /// A new object. A forward or policy without a name gets one. `may_exist`: an equal one is no error.
    Add { object: Object, may_exist: bool },
    /// Fields of an object, as a JSON merge patch (RFC 7396).
    Set { noun: Noun, name: String, patch: Map<String, Value> },
    /// `if_exists`: none of that name is no error.
    Delete { noun: Noun, name: String, if_exists: bool },
    /// Some settings; null gives one its default back.
    Settings(BTreeMap<String, Value>),
    /// What ends by itself, at this moment.
    Expire(Moment),
}

/// What an edit came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// With the next revision, if anything changed.
    pub desired: Desired,
    pub changes: Vec<Change>,
}

/// Applies an edit to what was accepted.
///
/// # Errors
/// All problems at once, each with its place; nothing is changed then. A conflict if `if_revision` is
/// given and is not the current one.
pub fn accept(
    current: &Desired,
    edit: Edit,
    if_revision: Option<u64>,
    services: &ServiceNames,
) -> Result<Accepted, ApiError> {
    let mut desired = current.clone();
    let changes = amend(&mut desired, edit, if_revision, services)?;
    Ok(Accepted { desired, changes })
}

/// As [`accept`], in place: what an edit of one rule costs does not grow with the document's copies.
///
/// # Errors
/// As [`accept`]; `desired` is as it was then.
pub fn amend(
    desired: &mut Desired,
    edit: Edit,
    if_revision: Option<u64>,
    services: &ServiceNames,
) -> Result<Vec<Change>, ApiError> {
    if let Some(asked) = if_revision.filter(|asked| *asked != desired.revision) {
        return Err(ApiError::new(
            Code::RevisionConflict,
            format!("The document has revision {}, not {asked}; nothing was changed.", desired.revision),
        ));
    }
    match edit.noun() {
        Some(Noun::Policy) => rule::amend(desired, edit, services),
        _ => amend_whole(desired, edit, services),
    }
}

/// Any edit: the whole document is looked at.
pub(super) fn amend_whole(
    desired: &mut Desired,
    edit: Edit,
    services: &ServiceNames,
) -> Result<Vec<Change>, ApiError> {
    let mut document = desired.document.clone();
    apply(&mut document, edit)?;
    let mut problems = normalize(&mut document, services);
    problems.extend(validate::problems(&document));
    if !problems.is_empty() {
        return Err(ApiError::from_problems(problems));
    }
    let document = in_order_of(&desired.document, document);
    let changes = changes(&desired.document, &document);
    if !changes.is_empty() {
        desired.revision += 1;
        desired.numbers.follow(&document);
        desired.document = document;
    }
    Ok(changes)
}

impl Edit {
    /// The kind of object, of an edit of one object.
    pub fn noun(&self) -> Option<Noun> {
        match self {
            Self::Add { object, .. } => Some(object.noun()),
            Self::Set { noun, .. } | Self::Delete { noun, .. } => Some(*noun),
            Self::Replace(_) | Self::Settings(_) | Self::Expire(_) => None,
        }
    }
}

/// Makes an edit of one object whole or not at all; any other one may stop amid.
pub(super) fn apply(document: &mut Document, edit: Edit) -> Result<(), ApiError> {
    match edit {
        Edit::Replace(new) => *document = new,
        Edit::Expire(now) => expire(document, now),
        Edit::Add { object, may_exist } => add(document, object, may_exist)?,
        Edit::Set { noun, name, patch } => set(document, noun, &name, patch)?,
        Edit::Delete { noun, name, if_exists } => delete(document, noun, &name, if_exists)?,
        Edit::Settings(values) => {
            for (key, value) in values {
                if value.is_null() {
                    settings::find(&key).map_err(|error| {
                        let sentence = format!("{}.", capitalized(&error.message));
                        ApiError::new(Code::BadSetting, sentence).hint(error.hint)
                    })?;
                    document.settings.remove(&key);
                } else {
                    document.settings.insert(key, value);
                }
            }
        }
    }
    Ok(())
}

fn add(document: &mut Document, mut object: Object, may_exist: bool) -> Result<(), ApiError> {
    naming::complete(&mut object, document);
    let (noun, name) = (object.noun(), object.name().to_owned());
    if let Some(existing) = document.object(noun, &name) {
        if may_exist && existing == object {
            return Ok(());
        }
        let differs = if may_exist { ", and is another one" } else { "" };
        let sentence = format!("{} {name} exists already{differs}.", capitalized(noun.name()));
        return Err(ApiError::new(Code::Exists, sentence).about(format!("{noun} {name}")));
    }
    if let Object::Network(network) = &object
        && let Some(device) = &network.uplink
        && document.find::<Uplink>(device).is_none()
    {
        document.put(Object::Uplink(Uplink { device: device.clone(), hook: Hook::Auto, take_over: false }));
    }
    document.put(object);
    Ok(())
}

fn not_found(noun: Noun, name: &str) -> ApiError {
    ApiError::new(Code::NoSuchObject, format!("There is no {noun} {name}."))
        .about(format!("{noun} {name}"))
        .hint(format!("List them: fwd {noun} list."))
}

fn set(document: &mut Document, noun: Noun, name: &str, patch: Map<String, Value>) -> Result<(), ApiError> {
    let about = format!("{noun} {name}");
    let object = document.object(noun, name).ok_or_else(|| not_found(noun, name))?;
    let bad = |error: serde_json::Error| {
        ApiError::new(Code::BadStructure, format!("{}: {error}.", capitalized(&about))).about(&about)
    };
    let mut json = object.to_json().map_err(bad)?;
    merge(&mut json, Value::Object(patch));
    let object = Object::from_json(noun, json).map_err(bad)?;
    if object.name() != name {
        return Err(ApiError::new(
            Code::BadStructure,
            format!("{}: objects cannot be renamed.", capitalized(&about)),
        )
        .about(&about)
        .hint("Add it under the new name and delete this one."));
    }
    document.put(object);
    Ok(())
}

/// RFC 7396, part 2.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(fields) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            fields.remove(&key);
        } else {
            merge(fields.entry(key).or_insert(Value::Null), value);
        }
    }
}

fn delete(document: &mut Document, noun: Noun, name: &str, if_exists: bool) -> Result<(), ApiError> {
    if document.object(noun, name).is_none() {
        return if if_exists { Ok(()) } else { Err(not_found(noun, name)) };
    }
    let users = users(document, noun, name);
    if !users.is_empty() {
        let sentence = format!("{} {name} is in use by {}.", capitalized(noun.name()), users.join(", "));
        return Err(ApiError::new(Code::InUse, sentence).about(format!("{noun} {name}")));
    }
    document.remove(noun, name);
    Ok(())
}

/// One spelling for settings and moments; numbers for the names of services, which the host could change later.
/// What is not understood stays, for validation to find.
fn normalize(document: &mut Document, services: &ServiceNames) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (key, value) in &mut document.settings {
        if let Ok(normal) = settings::normalize(key, value) {
            *value = normal;
        }
    }
    for forward in &mut document.forwards {
        moment(&mut forward.expires);
    }
    for (index, policy) in document.policies.iter_mut().enumerate() {
        rule::normalize(index, policy, services, &mut problems);
    }
    problems
}

/// One spelling of when something ends.
pub(super) fn moment(expires: &mut Option<String>) {
    if let Some(Ok(moment)) = expires.as_ref().map(|text| text.parse::<Moment>()) {
        *expires = Some(moment.to_string());
    }
}

/// The new document with the objects that it keeps in their old order, new ones behind: the order of the
/// store, so that what is shown does not depend on a restart.
fn in_order_of(old: &Document, mut new: Document) -> Document {
    type Places<'a> = HashMap<&'a str, usize>;
    fn places<'a, T: Named + 'a>(old: impl IntoIterator<Item = &'a T>) -> Places<'a> {
        old.into_iter().enumerate().map(|(n, object)| (object.name(), n)).collect()
    }
    fn place<T: Named>(old: &Places<'_>, object: &T) -> usize {
        old.get(object.name()).copied().unwrap_or(usize::MAX)
    }
    fn order<'a, T: Named + 'a>(old: impl IntoIterator<Item = &'a T>, new: &mut [T]) {
        let old = places(old);
        new.sort_by_cached_key(|object| place(&old, object));
    }
    order(&old.uplinks, &mut new.uplinks);
    order(&old.networks, &mut new.networks);
    order(&old.ports, &mut new.ports);
    order(&old.forwards, &mut new.forwards);
    order(&old.nats, &mut new.nats);
    order(&old.groups, &mut new.groups);
    order(&old.sets, &mut new.sets);
    // Of these there may be very many, and most often they are in order.
    let policies = places(&old.policies);
    if !new.policies.iter().is_sorted_by_key(|policy| place(&policies, policy)) {
        let mut sorted: Vec<Policy> = new.policies.into_iter().collect();
        order(&old.policies, &mut sorted);
        new.policies = sorted.into();
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::error::Kind;
    use serde_json::json;

    fn document(json: Value) -> Document {
        serde_json::from_value(json).expect("a document")
    }

    fn edited(current: &Desired, edit: Edit) -> Result<Accepted, ApiError> {
        accept(current, edit, None, &ServiceNames::new())
    }

    fn add(noun: Noun, json: Value) -> Edit {
        Edit::Add { object: Object::from_json(noun, json).expect("an object"), may_exist: false }
    }

    fn lab() -> Desired {
        let document = document(json!({
            "uplinks": [{"device": "eth0"}],
            "networks": [{"name": "vmnat", "mode": "nat", "subnets": ["10.10.0.0/24"], "uplink": "eth0"}],
            "ports": [{"name": "web1", "device": "tap0", "network": "vmnat", "ips": ["10.10.0.11"]}],
            "forwards": [{"name": "http", "listen": "tcp:8080", "to": "web1:80"}],
            "groups": [{"name": "web", "members": ["web1"]}],
            "policies": [{"name": "p", "action": "deny", "from": "outside", "to": "group:web"}],
        }));
        edited(&Desired::default(), Edit::Replace(document)).expect("a valid document").desired
    }

    #[test]
    fn an_edit_makes_the_next_revision_and_says_what_changed() {
        let lab = lab();
        let patch = json!({"labels": {"role": "web"}, "ips": null});
        let Value::Object(patch) = patch else { unreachable!("an object") };
        let set = Edit::Set { noun: Noun::Port, name: "web1".into(), patch };
        let accepted = edited(&lab, set).expect("accepted");
        assert_eq!(accepted.desired.revision, lab.revision + 1);
        assert_eq!(accepted.desired.numbers, lab.numbers);
        let [change] = accepted.changes.as_slice() else { panic!("one change: {:?}", accepted.changes) };
        assert_eq!((change.kind.as_str(), change.name.as_str()), ("port", "web1"));
        let port = &accepted.desired.document.ports[0];
        assert_eq!(port.labels.get("role").map(String::as_str), Some("web"));
        assert!(port.ips.is_empty());
    }

    #[test]
    fn an_equal_document_changes_nothing() {
        let lab = lab();
        let mut same = lab.document.clone();
        same.policies = same.policies.into_iter().rev().collect();
        let accepted = edited(&lab, Edit::Replace(same)).expect("accepted");
        assert_eq!(accepted, Accepted { desired: lab, changes: Vec::new() });
    }

    #[test]
    fn what_is_kept_keeps_its_place() {
        let lab = lab();
        let mut new = lab.document.clone();
        let mut other = new.ports[0].clone();
        (other.name, other.device, other.ips) = ("a".into(), "tap1".into(), Vec::new());
        new.ports.insert(0, other);
        let accepted = edited(&lab, Edit::Replace(new)).expect("accepted").desired;
        let names: Vec<_> = accepted.document.ports.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["web1", "a"]);
    }

    #[test]
    fn an_edit_on_another_revision_is_a_conflict() {
        let lab = lab();
        let edit = Edit::Settings(BTreeMap::new());
        let error = accept(&lab, edit, Some(lab.revision + 1), &ServiceNames::new()).expect_err("conflict");
        assert_eq!(error.kind, Kind::Conflict);
    }

    #[test]
    fn adding_twice_is_refused_unless_equal_and_allowed() {
        let lab = lab();
        let uplink = |hook: &str, may_exist| Edit::Add {
            object: Object::from_json(Noun::Uplink, json!({"device": "eth0", "hook": hook})).expect("uplink"),
            may_exist,
        };
        assert_eq!(edited(&lab, uplink("auto", false)).expect_err("exists").kind, Kind::Exists);
        assert_eq!(edited(&lab, uplink("tcx", true)).expect_err("another").kind, Kind::Exists);
        assert_eq!(edited(&lab, uplink("auto", true)).expect("equal").changes, []);
    }

    #[test]
    fn deletion_names_the_users() {
        let lab = lab();
        let delete = |noun, name: &str, if_exists| {
            edited(&lab, Edit::Delete { noun, name: name.into(), if_exists }).map(|a| a.changes.len())
        };
        let message = |noun, name| delete(noun, name, false).expect_err("refused").message;
        assert_eq!(message(Noun::Uplink, "eth0"), "Uplink eth0 is in use by network vmnat.");
        assert_eq!(message(Noun::Network, "vmnat"), "Network vmnat is in use by port web1.");
        assert_eq!(message(Noun::Port, "web1"), "Port web1 is in use by forward http, group web.");
        assert_eq!(message(Noun::Group, "web"), "Group web is in use by policy p.");
        assert_eq!(delete(Noun::Policy, "p", false), Ok(1));
        assert_eq!(delete(Noun::Port, "x", false).expect_err("absent").kind, Kind::NotFound);
        assert_eq!(delete(Noun::Port, "x", true), Ok(0));
    }

    #[test]
    fn forwards_and_policies_get_names() {
        let lab = lab();
        let forward = add(Noun::Forward, json!({"name": "", "listen": "tcp+udp:53", "to": "web1:53"}));
        let accepted = edited(&lab, forward).expect("accepted");
        assert_eq!(accepted.changes[0].name, "web1-tcp-udp-53");
        let policy = add(Noun::Policy, json!({"name": "", "action": "allow", "services": "tcp/80"}));
        let accepted = edited(&accepted.desired, policy.clone()).expect("accepted");
        assert_eq!(accepted.changes[0].name, "policy-1");
        assert_eq!(edited(&accepted.desired, policy).expect("accepted").changes[0].name, "policy-2");
    }

    #[test]
    fn a_network_brings_its_uplink() {
        let network = json!({"name": "n", "mode": "nat", "subnets": ["10.0.0.0/24"], "uplink": "eth1"});
        let accepted = edited(&lab(), add(Noun::Network, network)).expect("accepted");
        let names: Vec<_> = accepted.changes.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["eth1", "n"]);
    }

    #[test]
    fn names_of_services_become_numbers() {
        let names = ServiceNames::from([("http".to_owned(), vec![(fwd_common::proto::IpProto::TCP, 80)])]);
        let rule = json!({"name": "w", "action": "allow", "services": ["http", "icmp"]});
        let accepted = accept(&lab(), add(Noun::Policy, rule), None, &names).expect("accepted");
        let policies = accepted.desired.document.policies;
        assert_eq!(policies.last().expect("a rule").services, ["tcp/80", "icmp"]);
    }

    #[test]
    fn settings_are_set_and_unset() {
        let set = |desired: &Desired, key: &str, value: Value| {
            edited(desired, Edit::Settings(BTreeMap::from([(key.to_owned(), value)])))
        };
        let accepted = set(&lab(), "udp_timeout", json!("5m")).expect("accepted").desired;
        assert_eq!(accepted.document.settings.get("udp_timeout"), Some(&json!("300s")));
        let back = set(&accepted, "udp_timeout", Value::Null).expect("accepted").desired;
        assert!(back.document.settings.is_empty());
        assert_eq!(set(&lab(), "colour", json!(1)).expect_err("unknown").code, Code::BadSetting);
        assert_eq!(set(&lab(), "colour", Value::Null).expect_err("unknown").code, Code::BadSetting);
        assert_eq!(set(&lab(), "udp_timeout", json!("0s")).expect_err("range").code, Code::BadSetting);
    }

    #[test]
    fn what_has_ended_goes_and_the_rest_stays() {
        let mut document = lab().document;
        let at = |hour: u32| Some(format!("2030-01-01T{hour:02}:00:00+01:00"));
        document.forwards[0].expires = at(10);
        document.policies[0].expires = at(12);
        let current = edited(&lab(), Edit::Replace(document)).expect("accepted").desired;
        let end = current.document.forwards[0].expires.clone();
        assert_eq!(end.as_deref(), Some("2030-01-01T09:00:00Z"));
        let moment = |text: &str| text.parse::<Moment>().expect("a moment");
        assert_eq!(super::super::next_expiry(&current.document), Some(moment("2030-01-01T09:00:00Z")));
        let gone = |now: &str| {
            let accepted = edited(&current, Edit::Expire(moment(now))).expect("accepted");
            accepted.changes.into_iter().map(|c| c.name).collect::<Vec<_>>()
        };
        assert_eq!(gone("2030-01-01T08:59:59Z"), [""; 0]);
        assert_eq!(gone("2030-01-01T09:00:00Z"), ["http"]);
        assert_eq!(gone("2030-01-01T11:00:00Z"), ["http", "p"]);
        let mut bad = current.document.clone();
        bad.policies[0].expires = Some("2h".to_owned());
        assert_eq!(edited(&current, Edit::Replace(bad)).expect_err("no moment").code, Code::BadValue);
    }

    #[test]
    fn a_patch_cannot_rename_or_invent_fields() {
        let patch = |json: Value| {
            let Value::Object(patch) = json else { unreachable!("an object") };
            edited(&lab(), Edit::Set { noun: Noun::Port, name: "web1".into(), patch })
                .expect_err("refused")
                .message
        };
        assert_eq!(patch(json!({"name": "web2"})), "Port web1: objects cannot be renamed.");
        assert!(patch(json!({"colour": 1})).starts_with("Port web1: unknown field `colour`"));
    }
}
