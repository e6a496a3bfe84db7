//! Medians with their spread, and ratios with their confidence. Pure: randomness is a fixed sequence.
//!
//! Elements of a scenario take turns, so the samples of one round met the same machine. A ratio is the median of the
//! rounds' ratios, and its interval comes from drawing the rounds anew, with replacement: what moves both
//! elements alike cancels out.

use std::fmt;

/// Of one series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Summary {
    /// Nothing of nothing.
    #[must_use]
    pub fn of(samples: &[f64]) -> Option<Self> {
        let sorted = sorted(samples);
        Some(Self { median: median(&sorted)?, min: *sorted.first()?, max: *sorted.last()? })
    }
}

/// A ratio with the interval in which it lies with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

impl Ratio {
    const DRAWS: usize = 2000;
    const OUTSIDE: f64 = 0.025;

    /// Of two series with as many rounds; none where a round is missing or a sample is not positive.
    #[must_use]
    pub fn of(numerator: &[f64], denominator: &[f64]) -> Option<Self> {
        let paired = numerator.len() == denominator.len();
        let positive = numerator.iter().chain(denominator).all(|sample| *sample > 0.0);
        if !paired || !positive {
            return None;
        }
        let ratios: Vec<f64> = numerator.iter().zip(denominator).map(|(a, b)| a / b).collect();
        let value = median(&sorted(&ratios))?;
        let mut random = Sequence(0x5eed);
        let mut drawn = Vec::with_capacity(Self::DRAWS);
        let mut draw = vec![0.0; ratios.len()];
        for _ in 0..Self::DRAWS {
            draw.fill_with(|| ratios[random.below(ratios.len())]);
            draw.sort_unstable_by(f64::total_cmp);
            drawn.push(median(&draw)?);
        }
        let drawn = sorted(&drawn);
        Some(Self {
            value,
            low: percentile(&drawn, Self::OUTSIDE)?,
            high: percentile(&drawn, 1.0 - Self::OUTSIDE)?,
        })
    }

    /// The same, seen from the other side.
    #[must_use]
    pub fn inverse(self) -> Self {
        Self { value: self.value.recip(), low: self.high.recip(), high: self.low.recip() }
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ({:.2}–{:.2})", self.value, self.low, self.high)
    }
}

/// The value below which this share of a sorted series lies.
#[must_use]
pub fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((share * last as f64).round() as usize).copied()
}

#[must_use]
pub fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    Some(if sorted.len() % 2 == 1 { upper } else { f64::midpoint(sorted[middle - 1], upper) })
}

/// Steele, Lea and Flood's SplitMix64: enough for drawing rounds, and the same in every run.
struct Sequence(u64);

impl Sequence {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn medians_are_of_the_middle() {
        let of = |samples: &[f64]| Summary::of(samples).map(|s| (s.min, s.median, s.max));
        assert_eq!(of(&[3.0, 1.0, 2.0]), Some((1.0, 2.0, 3.0)));
        assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]), Some((1.0, 2.5, 4.0)));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn what_moves_both_alike_cancels_out() {
        let machine = [1.0, 0.5, 2.0, 1.5, 0.7, 1.1];
        let ours: Vec<f64> = machine.iter().map(|noise| 3.0 * noise).collect();
        let ratio = Ratio::of(&ours, &machine).expect("as many rounds");
        assert!((ratio.value - 3.0).abs() < 1e-9 && ratio.high - ratio.low < 1e-9, "{ratio:?}");
    }

    #[test]
    fn an_interval_widens_with_the_noise() {
        let width = |noise: f64| {
            let ours: Vec<f64> = (0..15).map(|round| 2.0 + noise * f64::from(round % 5)).collect();
            let ratio = Ratio::of(&ours, &[1.0; 15]).expect("as many rounds");
            ratio.high - ratio.low
        };
        assert!(width(0.01) < width(0.1), "{} {}", width(0.01), width(0.1));
    }

    #[test]
    fn what_was_not_measured_in_both_has_no_ratio() {
        assert_eq!(Ratio::of(&[1.0], &[1.0, 2.0]), None);
        assert_eq!(Ratio::of(&[1.0], &[0.0]), None);
        assert_eq!(Ratio::of(&[], &[]), None);
    }

    #[test]
    fn percentiles_are_samples() {
        let samples: Vec<f64> = (0..=100).map(f64::from).collect();
        assert_eq!(percentile(&samples, 0.99), Some(99.0));
        assert_eq!(percentile(&samples, 0.5), Some(50.0));
        assert_eq!(percentile(&[7.0], 0.99), Some(7.0));
        assert_eq!(percentile(&[], 0.5), None);
    }

    proptest! {
        #[test]
        fn a_ratio_lies_in_its_interval_and_turns_around(rounds in prop::collection::vec((0.1..10.0f64, 0.1..10.0f64), 1..20)) {
            let (ours, theirs): (Vec<f64>, Vec<f64>) = rounds.into_iter().unzip();
            let ratio = Ratio::of(&ours, &theirs).expect("as many rounds");
            prop_assert!(ratio.low <= ratio.value && ratio.value <= ratio.high);
            let back = ratio.inverse();
            prop_assert!(back.low <= back.value && back.value <= back.high);
        }
    }
}
