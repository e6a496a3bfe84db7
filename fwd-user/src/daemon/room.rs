//! Refuses what the maps have no room for, before anything is written or kept.

use fwd_common::map;

use super::{failure::of_read, writer::Writer};
use crate::{
    api::error::{ApiError, Code},
    compile::Tables,
    plan::{Shortage, shortages},
};

impl Writer {
    /// Whether the maps have room for what an edit comes to.
    ///
    /// # Errors
    /// Each map that is too small, with the rows that are needed.
    pub(super) fn check_room(&self, new: &Tables) -> Result<(), ApiError> {
        let capacities = self.tools.observer.view(|view| view.maps.capacities().to_vec());
        let capacities = capacities.map_err(|e| of_read(&e))?;
        match shortages(&self.world.compiled.tables, new, &capacities) {
            short if short.is_empty() => Ok(()),
            short => Err(refusal(&short)),
        }
    }
}

fn refusal(short: &[Shortage]) -> ApiError {
    let maps: Vec<String> = short.iter().map(sentence).collect();
    let mut error = ApiError::new(Code::TooMany, format!("{} Nothing was changed.", maps.join(" ")));
    error.object = Some(format!("map {}", short[0].map));
    error.hints = short.iter().map(|short| remedy(short).to_owned()).collect();
    error.hints.dedup();
    error
}

fn sentence(short: &Shortage) -> String {
    let Shortage { map, needed, after, capacity } = short;
    if after > capacity {
        return format!("Map {map}: {after} rows are needed, and it holds {capacity}.");
    }
    format!(
        "Map {map}: {after} rows are needed, {needed} while the old ones are still there, and it holds {capacity}."
    )
}

fn remedy(short: &Shortage) -> &'static str {
    if short.after <= short.capacity {
        return "Make the edit in two: first delete what is to go, then add what is to come.";
    }
    match short.map {
        map::IDENTITIES => "Let rules and sets name fewer CIDRs, or wider ones.",
        map::POLICIES => {
            "Let rules tell fewer ports and CIDRs apart: group what is treated alike (fwd group, fwd set)."
        }
        map::ROWS => "Let rules be about fewer services and L4 ports, or about ranges.",
        _ => "Delete some of what is no longer needed.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_map_that_is_too_small_is_told_with_the_rows_that_are_needed() {
        let short = |map, needed, after| Shortage { map, needed, after, capacity: 100 };
        let error = refusal(&[short(map::IDENTITIES, 300, 200), short(map::ROWS, 120, 90)]);
        assert_eq!(error.kind.exit_code(), 7);
        assert_eq!(
            error.message,
            "Map IDENTITIES: 200 rows are needed, and it holds 100. Map ROWS: 90 rows are needed, 120 while the old ones are \
             still there, and it holds 100. Nothing was changed."
        );
        assert_eq!(error.hints.len(), 2);
    }
}
