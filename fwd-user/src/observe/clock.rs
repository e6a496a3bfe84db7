//! The kernel's moments as people's: the datapath stamps rows with nanoseconds since boot.

use std::time::{Duration, SystemTime};

use fwd_common::flow::Tick;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// One moment on both clocks, by which others are converted.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// As the datapath counts: `CLOCK_MONOTONIC`.
    pub boot_ns: u64,
    pub wall: SystemTime,
}

impl Moment {
    /// This moment.
    pub fn now() -> Self {
        let monotonic = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
            .expect("every Linux has a monotonic clock");
        Self { boot_ns: Duration::from(monotonic).as_nanos() as u64, wall: SystemTime::now() }
    }

    pub const fn tick(self) -> Tick {
        Tick::from_ns(self.boot_ns)
    }

    /// When the datapath's clock began, in whole seconds since the Unix epoch, rounded down: by it, what ends
    /// at a whole second ends up to a second late for the datapath, and never early.
    pub fn clock_began(self) -> i64 {
        let since_epoch = self.wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        since_epoch.saturating_sub(Duration::from_nanos(self.boot_ns)).as_secs().cast_signed()
    }

    /// When something happened; none where it never did (0).
    pub fn wall_of(self, boot_ns: u64) -> Option<SystemTime> {
        (boot_ns != 0).then(|| self.wall - Duration::from_nanos(self.boot_ns.saturating_sub(boot_ns)))
    }

    /// The same as RFC 3339 text in UTC, to the millisecond.
    pub fn text_of(self, boot_ns: u64) -> Option<String> {
        let at = OffsetDateTime::from(self.wall_of(boot_ns)?);
        let second = at.replace_nanosecond(0).expect("0 is a nanosecond");
        let text = second.format(&Rfc3339).expect("years since 1970 have four digits");
        Some(format!("{}.{:03}Z", text.trim_end_matches('Z'), at.millisecond()))
    }

    /// The moment at which a tick began; none of tick 0.
    pub fn text_of_tick(self, tick: Tick) -> Option<String> {
        self.text_of(u64::from(tick.0) * NS_PER_TICK)
    }

    /// Seconds since the Unix epoch.
    pub fn unix_secs_of(self, boot_ns: u64) -> Option<f64> {
        let since = self.wall_of(boot_ns)?.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Some(since.as_secs_f64())
    }
}

const NS_PER_TICK: u64 = 1 << 27;

/// A time in ticks as seconds, rounded down.
pub const fn ticks_to_secs(ticks: u32) -> u64 {
    ticks as u64 * NS_PER_TICK / 1_000_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_in_utc() {
        let now = Moment {
            boot_ns: 90_000_000_000,
            wall: SystemTime::UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789),
        };
        assert_eq!(now.text_of(60_000_000_000).as_deref(), Some("2023-11-14T22:12:50.123Z"));
        assert_eq!(now.unix_secs_of(90_000_000_000), Some(1_700_000_000.123_456_8));
        assert_eq!(now.text_of(0), None);
    }

    #[test]
    fn nothing_ends_for_the_datapath_before_its_moment() {
        let began = |wall_ms, boot_ms: u64| {
            let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(wall_ms);
            Moment { boot_ns: boot_ms * 1_000_000, wall }.clock_began()
        };
        assert_eq!(began(100_000, 40_000), 60);
        assert_eq!(began(100_900, 40_200), 60);
        assert_eq!(began(100_100, 40_900), 59, "the difference of whole seconds would be 60");
    }

    #[test]
    fn a_tick_is_an_eighth_of_a_second_or_so() {
        assert_eq!(ticks_to_secs(7), 0);
        assert_eq!(ticks_to_secs(8), 1);
        assert_eq!(ticks_to_secs(Tick::ticks_from_secs(300)), 300);
    }
}
