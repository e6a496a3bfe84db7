//! Two builds that took turns: the rounds of each are files of one round, in the order in which they were made.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::page::number;
use crate::result::{Measurement, Results};
use crate::statistics::{Ratio, Summary};

/// Reads a build's rounds, files separated by commas, as one run.
///
/// # Errors
/// If a file is no run's results.
pub fn read(files: &str) -> Result<Results> {
    let mut rounds = files.split(',').map(|file| Results::read(Path::new(file)));
    let mut all = rounds.next().transpose()?.unwrap_or_default();
    for round in rounds {
        append(&mut all, round?);
    }
    ensure!(!all.measurements.is_empty(), "{files}: nothing was measured");
    Ok(all)
}

fn append(all: &mut Results, round: Results) {
    for new in round.measurements {
        match all.measurements.iter_mut().find(|known| is_same(known, &new)) {
            Some(known) => known.samples.extend(new.samples),
            None => all.measurements.push(new),
        }
    }
}

fn is_same(a: &Measurement, b: &Measurement) -> bool {
    let names = |m: &Measurement| (m.scenario.clone(), m.element.clone(), m.quantity.clone(), m.at, m.unit);
    names(a) == names(b)
}

/// New against old, series by series; the ratio is above 1 where the new one is better.
pub fn table(old: &Results, new: &Results) -> String {
    let mut out = "| | old | new | better by |\n| --- | --- | --- | --- |\n".to_owned();
    for series in &new.measurements {
        let Some(before) = old.measurements.iter().find(|known| is_same(known, series)) else { continue };
        let ratio = Ratio::of(&series.samples, &before.samples)
            .map(|ratio| if series.higher_is_better { ratio } else { ratio.inverse() });
        let medians = [before, series].map(|m| Summary::of(&m.samples).map_or(f64::NAN, |s| s.median));
        let name = [series.scenario.as_str(), &series.element, &series.quantity, &series.at.to_string()]
            .into_iter()
            .filter(|word| !word.is_empty())
            .collect::<Vec<_>>()
            .join(", ");
        out += &format!(
            "| {name} ({}) | {} | {} | {} |\n",
            series.unit.symbol(),
            number(medians[0]),
            number(medians[1]),
            ratio.map_or_else(|| "not as many rounds".to_owned(), |ratio| ratio.to_string()),
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::{Reading, Tier, Unit};

    fn round(ns: f64) -> Results {
        let mut results = Results::default();
        results.add(Tier::Program, "hit", "fwd", Reading::new(ns, Unit::Nanoseconds));
        results
    }

    #[test]
    fn rounds_are_paired_in_their_order() {
        let of = |rounds: [f64; 3]| {
            let mut all = round(rounds[0]);
            rounds[1..].iter().for_each(|ns| append(&mut all, round(*ns)));
            all
        };
        let text = table(&of([20.0, 40.0, 10.0]), &of([10.0, 20.0, 5.0]));
        assert!(text.ends_with("| hit, fwd (ns) | 20.0 | 10.0 | 2.00 (2.00–2.00) |\n"), "{text}");
    }

    #[test]
    fn a_series_of_one_build_only_is_left_out() {
        assert_eq!(table(&Results::default(), &round(1.0)).lines().count(), 2);
    }
}
