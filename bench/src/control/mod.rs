//! The control tier: the real daemon in a namespace of its own, by its command line and by its API.

mod apply;
mod edit;
mod live;
mod nft;
mod stand;

use crate::scenario::Scenario;

pub fn scenarios() -> Vec<Box<dyn Scenario>> {
    vec![Box::new(edit::Edits), Box::new(apply::Apply), Box::new(live::Live)]
}
