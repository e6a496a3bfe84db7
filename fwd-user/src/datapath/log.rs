//! How much the programs tell of what they do. Fixed when they are loaded: the verifier takes out what is off.

/// The least severe records that are told; each level tells those before it too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogLevel {
    #[default]
    Off = 0,
    /// Drops that cannot happen
    Error = 1,
    /// Other drops
    Info = 3,
    /// What each slow step of the pipeline answered
    Debug = 4,
    /// L4 ports that were tried for a translation
    Trace = 5,
}

impl LogLevel {
    /// The constant of the object in which aya-log has the level.
    pub(super) const GLOBAL: &str = "AYA_LOG_LEVEL";

    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}
