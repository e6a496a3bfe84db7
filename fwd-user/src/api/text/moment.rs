//! Moments: RFC 3339, UTC, to the second.

use std::{fmt, str::FromStr};

use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

use super::TextError;

/// A moment, by seconds since the Unix epoch. Of a fraction of a second the whole one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    pub unix_secs: i64,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = OffsetDateTime::from_unix_timestamp(self.unix_secs).map_err(|_| fmt::Error)?;
        f.write_str(&at.format(&Rfc3339).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Moment {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let at = OffsetDateTime::parse(text, &Rfc3339).ok().map(|at| at.to_offset(UtcOffset::UTC));
        // What is shown must read back.
        let at = at.filter(|at| (1970..10_000).contains(&at.year()));
        at.map(|at| Self { unix_secs: at.unix_timestamp() }).ok_or_else(|| {
            TextError::new(
                format!("`{text}` is not a moment"),
                "Write it as RFC 3339, such as 2030-01-31T12:00:00Z.",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_in_utc_to_the_second() {
        for (text, shown) in [
            ("2030-01-31T12:00:00Z", "2030-01-31T12:00:00Z"),
            ("2030-01-31T12:00:00.75Z", "2030-01-31T12:00:00Z"),
            ("2030-01-31T12:00:00+02:00", "2030-01-31T10:00:00Z"),
        ] {
            assert_eq!(text.parse::<Moment>().map(|m| m.to_string()).as_deref(), Ok(shown));
        }
        for text in ["", "tomorrow", "2030-01-31", "2030-02-31T12:00:00Z", "2h", "1969-12-31T23:59:59Z"] {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
    }
}
