//! Names for forwards and policies that were added without one.

use std::collections::HashSet;

use crate::api::{
    object::{Named, Object},
    spec::{Document, Forward, Policy},
    text::{Listen, Target, parse_name},
};

/// Gives a forward or policy with an empty name its own: `web1-tcp-8080`, `web1-any`, `policy-3`.
pub(super) fn complete(object: &mut Object, document: &Document) {
    match object {
        Object::Forward(forward) if forward.name.is_empty() => {
            forward.name = by_listen(forward)
                .filter(|name| document.find::<Forward>(name).is_none())
                .unwrap_or_else(|| numbered::<Forward>(document));
        }
        Object::Policy(policy) if policy.name.is_empty() => policy.name = numbered::<Policy>(document),
        _ => {}
    }
}

fn by_listen(forward: &Forward) -> Option<String> {
    let (listen, target): (Listen, Target) = (forward.listen.parse().ok()?, forward.to.parse().ok()?);
    let protocols = listen.protocols.to_string().replace('+', "-");
    let name = match listen.is_whole() {
        true => format!("{}-{protocols}", target.port),
        false => format!("{}-{protocols}-{}", target.port, listen.l4_ports.low),
    };
    parse_name(&name).ok().map(|()| name)
}

/// The first of `policy-1`, `policy-2`, … that is free.
fn numbered<T: Named>(document: &Document) -> String {
    let prefix = format!("{}-", T::NOUN);
    let taken: HashSet<&str> =
        T::list(document).filter_map(|object| object.name().strip_prefix(&prefix)).collect();
    let mut free = (1..).map(|n: u32| n.to_string()).skip_while(|n| taken.contains(n.as_str()));
    prefix.clone() + &free.next().expect("a document has fewer objects than numbers")
}
