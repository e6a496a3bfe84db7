//! Failures of the modules below as errors at the edge: each with the code that `fwd explain` knows.

use crate::{
    api::error::{ApiError, Code},
    datapath, host, observe,
};

/// Of the kernel's datapath.
pub fn of_datapath(error: &datapath::Error) -> ApiError {
    use datapath::Error as E;
    let code = match error {
        E::Permission { .. } => Code::CapabilityMissing,
        E::KernelLacks { .. } => Code::KernelLacks,
        E::InUse { .. } => Code::DaemonRuns,
        E::OtherAbi { .. } | E::OtherNamespace { .. } | E::MapDiffers { .. } => Code::OtherAbi,
        E::MapFull { .. } => Code::TooMany,
        E::NoDevice { .. } => Code::NoSuchDevice,
        E::Occupied { .. } => Code::ForeignProgram,
        E::DriverRefused { .. } => Code::DriverLacks,
        E::Untraceable { .. } => Code::BadArguments,
        E::Directory { .. }
        | E::Object(_)
        | E::ProgramRefused { .. }
        | E::Map { .. }
        | E::Attach { .. }
        | E::Detach { .. }
        | E::Link { .. }
        | E::Sweep(_)
        | E::Trace(_) => Code::DatapathFailed,
    };
    let failure = ApiError::new(code, error.to_string());
    match error {
        E::InUse { .. } => failure.hint("Give this instance a --bpffs of its own."),
        E::OtherAbi { .. } => failure.hint("Run fwd down first."),
        E::OtherNamespace { .. } => failure.hint("Start fwd there, or run fwd down first."),
        E::MapDiffers { .. } => failure.hint("Run fwd down first; flows are lost."),
        E::Occupied { device, .. } => {
            failure.hint(format!("Remove it (ip link set dev {device} xdp off), or use --hook tcx."))
        }
        E::Untraceable { .. } => failure.hint(
            "Where TCX decides, a frame needs its whole IP header, and has 3500 bytes at most: give a smaller `len`.",
        ),
        _ => failure,
    }
}

/// Of the host's interfaces and settings.
pub fn of_host(error: &host::Error) -> ApiError {
    ApiError::new(Code::HostFailed, error.to_string())
}

/// Of an observation.
pub fn of_query(error: &observe::QueryError) -> ApiError {
    use observe::QueryError as E;
    match error {
        E::Flow(_) => unknown(error, "fwd flow list"),
        E::Port(_) => unknown(error, "fwd port list, or fwd uplink list"),
        E::Rule(_) => unknown(error, "fwd policy list"),
        E::Group(_) => unknown(error, "fwd group list"),
        E::Reason(_) => unknown(error, "fwd drop reasons"),
        E::Revision(_) => unknown(error, "fwd config history"),
        E::Protocol(_) => ApiError::new(Code::BadValue, format!("{}.", capitalized(&error.to_string())))
            .hint("Write its name, or its number."),
        E::Read(error) => of_read(error),
    }
}

/// Something that is not there, with how to list what is.
fn unknown(error: &observe::QueryError, list: &str) -> ApiError {
    ApiError::new(Code::NoSuchObject, format!("{}.", capitalized(&error.to_string())))
        .hint(format!("List them: {list}."))
}

/// Of a map that could not be read.
pub fn of_read(error: &observe::ReadError) -> ApiError {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    ApiError::new(Code::DatapathFailed, format!("{}.", capitalized(&message)))
}

/// Several errors of a tear-down, which goes on after each, as one.
pub fn all_of(errors: Vec<ApiError>) -> Result<(), ApiError> {
    let Some(first) = errors.first().cloned() else { return Ok(()) };
    let messages: Vec<_> = errors.into_iter().map(|e| e.message).collect();
    Err(ApiError { message: messages.join(" "), ..first })
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
