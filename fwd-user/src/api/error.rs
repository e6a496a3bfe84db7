//! The error at the edge: what the API answers with and the CLI prints.
//!
//! A code names one kind of mistake for ever (`fwd explain CODE` prints its line of the table); its
//! [`Kind`] fixes the exit code. Errors of the modules below are turned into this one where they leave
//! the daemon, so nothing below knows of exit codes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What sort of failure: fixes the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Runtime,
    Usage,
    NotFound,
    Exists,
    Conflict,
    Invalid,
    Capacity,
    Permission,
    NotRunning,
    Unsupported,
    Findings,
    Verdict,
}

impl Kind {
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Runtime => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Exists => 4,
            Self::Conflict => 5,
            Self::Invalid => 6,
            Self::Capacity => 7,
            Self::Permission => 8,
            Self::NotRunning => 9,
            Self::Unsupported => 10,
            Self::Findings => 20,
            Self::Verdict => 21,
        }
    }
}

macro_rules! codes {
    ($($num:literal $variant:ident $kind:ident $sentence:literal $remedy:literal;)*) => {
        /// One kind of mistake. A number, once given, means the same for ever; a retired one stays retired.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub enum Code { $(#[doc = $sentence] $variant = $num,)* }

        impl Code {
            /// Every code, by number.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            pub const fn kind(self) -> Kind { match self { $(Self::$variant => Kind::$kind,)* } }

            /// What it means, in one sentence.
            pub const fn sentence(self) -> &'static str { match self { $(Self::$variant => $sentence,)* } }

            /// What to do about it.
            pub const fn remedy(self) -> &'static str { match self { $(Self::$variant => $remedy,)* } }
        }
    };
}

// The hundreds are the exit code of the kind; 0 holds those above nine.
codes! {
    1 KernelLacks Unsupported "The kernel lacks a feature that fwd needs." "Use a kernel of 6.1 or later with BPF and BTF.";
    3 DriverLacks Unsupported "The device's driver lacks what was asked for." "Use --hook auto or --hook tcx.";
    4 NoEthernet Unsupported "What the interface carries has no Ethernet header, where one is needed." "Use one that carries Ethernet, or a nat or routed network over a tunnel with one other end.";
    20 Findings Findings "The check found something." "See the list above.";
    21 WouldDrop Verdict "The packet would be dropped, or the outcome differs from what was expected." "See the stages above, and the rule or reason they name.";
    101 Internal Runtime "Something failed that should not." "Report it with the output of fwd status --check.";
    102 StoreUnreadable Runtime "The store's file is damaged, or is not fwd's." "Move it away, run fwd up, and apply the last document: fwd config apply -f FILE.";
    103 StoreFailed Runtime "The store could not be read or written; nothing was changed." "Look at the disk that holds the state directory.";
    104 DatapathFailed Runtime "The kernel refused a program, a map or a write." "See the message and the kernel's log (dmesg).";
    105 HostFailed Runtime "The host refused a change of an interface, an address or a sysctl." "See the message.";
    106 AnswerUnreadable Runtime "The daemon's answer could not be understood." "Use the CLI of the daemon's own version: fwd version.";
    107 IoFailed Runtime "A file could not be read or written." "See the message.";
    201 BadArguments Usage "The command line is not understood." "See fwd help.";
    202 BadRequest Usage "The request to the API is not understood." "See docs/openapi.json.";
    301 NoSuchObject NotFound "There is no object of that name." "List them: fwd NOUN list.";
    302 NoSuchFile NotFound "There is no such file." "Look at the path.";
    303 NoSuchDevice NotFound "There is no such interface in this network namespace." "List them: ip -br link.";
    304 NoSuchCode NotFound "There is no such code." "Codes look like FWD-E301.";
    401 Exists Exists "There is an object of that name already." "Change it with set, or use --may-exist.";
    501 RevisionConflict Conflict "Somebody else changed the document meanwhile." "Look at the change (fwd config show) and try again.";
    502 InUse Conflict "Other objects use this one." "Change or delete them first.";
    503 DaemonRuns Conflict "Another daemon holds the state directory or the bpffs directory." "Use its socket, or give this instance directories of its own.";
    504 ForeignProgram Conflict "The interface carries an XDP program that is not fwd's." "Remove it, or use --hook tcx.";
    505 DeviceEnslaved Conflict "The interface belongs to a Linux bridge or bond." "Take it with --take-over, or release it: ip link set DEVICE nomaster; or use the bridge as uplink.";
    506 HostListens Conflict "A process of this host listens on that L4 port." "Choose another L4 port, or use --force.";
    507 OtherAbi Conflict "The pinned datapath is of another version of fwd." "Run fwd down with that version, or fwd down --purge.";
    508 OtherOptions Conflict "The daemon runs with other options." "Run fwd down first, or leave the options out.";
    509 NothingOnTrial Conflict "No change waits for confirmation." "See fwd config history: it was confirmed, or rolled back in time.";
    510 HostAddress Conflict "The address is the only one that the host itself has there." "Use another address: ip address add ADDR dev UPLINK.";
    511 FlowsUntold Conflict "Starts and ends of flows are not told." "Turn them on: fwd config set flow_log on.";
    512 HostsDevice Conflict "The interface is the host's own, or fwd's." "Name another one: ip -br link.";
    601 InvalidDocument Invalid "Several things are wrong; nothing was changed." "Mend each of them; they are listed.";
    602 BadName Invalid "The name is not one." "Use [a-z0-9][a-z0-9-]{0,31}.";
    603 BadValue Invalid "The value is not understood." "See the message for what is.";
    604 UnknownReference Invalid "It names an object that does not exist." "Add that object first, or mend the name.";
    605 DuplicateName Invalid "Two objects of one kind have the same name." "Rename one of them.";
    606 AddressClash Invalid "Two ports of one network have the same address." "Give one of them another address.";
    607 MacClash Invalid "Two ports of one network have the same MAC." "Give one of them another MAC.";
    608 AddressOutside Invalid "The address is in none of the network's subnets." "Choose one that is, or add the subnet.";
    609 SubnetOverlap Invalid "Two subnets overlap." "Choose another subnet, or make the network --private.";
    610 BadGateway Invalid "The gateway cannot be one." "Use a host address of the subnet, one for each subnet.";
    611 DeviceTwice Invalid "Two objects use the same interface." "Give one of them another interface.";
    612 ListenClash Invalid "Two forwards listen on the same address and L4 port." "Change one of them.";
    613 BadForward Invalid "The forward cannot lead there." "See the message.";
    614 BadNetwork Invalid "The network's parts do not fit its mode." "See the message.";
    615 BadSetting Invalid "There is no such setting, or its value is out of range." "See the message for the range, and fwd config show.";
    616 BadYaml Invalid "The file is not YAML, or not of the document's shape." "See the line and column.";
    617 BadStructure Invalid "A field is missing, unknown, or of the wrong type." "See the message for the field.";
    618 BadNat Invalid "The translation cannot be made so." "See the message.";
    619 NatClash Invalid "Two translations want the same thing." "Change one of them, or delete it.";
    701 TooMany Capacity "The host holds no more of these." "Delete some, or raise the limit if a setting holds it.";
    801 Denied Permission "The socket or a file may not be used by this user." "Use sudo, or become a member of the group fwd.";
    802 CapabilityMissing Permission "The daemon lacks a capability that it needs." "Run it as root, or with CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON and CAP_SYS_ADMIN.";
    901 NotRunning NotRunning "The daemon is not running." "Start it: sudo fwd up.";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FWD-E{:03}", *self as u16)
    }
}

impl From<Code> for String {
    fn from(code: Code) -> Self {
        code.to_string()
    }
}

/// Not one of the codes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no error code")]
pub struct UnknownCode(pub String);

impl std::str::FromStr for Code {
    type Err = UnknownCode;

    /// Takes `FWD-E301`, `E301` and `301`, in either case.
    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        let upper = text.to_ascii_uppercase();
        let digits = upper.strip_prefix("FWD-").unwrap_or(&upper);
        let digits = digits.strip_prefix('E').unwrap_or(digits);
        let number: Option<u16> = digits.parse().ok();
        let code = Self::ALL.iter().find(|code| Some(**code as u16) == number);
        code.copied().ok_or_else(|| UnknownCode(text.to_owned()))
    }
}

impl TryFrom<String> for Code {
    type Error = UnknownCode;

    fn try_from(text: String) -> Result<Self, UnknownCode> {
        text.parse()
    }
}

/// One thing that is wrong with what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Where in the document, as a JSON pointer (RFC 6901): `/ports/3/mac`.
    pub path: String,
    pub code: Code,
    pub kind: Kind,
    /// The object concerned: `port web0`.
    pub object: String,
    /// Object first, then what is wrong, in full sentences.
    pub message: String,
    /// What to do, in full sentences.
    pub hints: Vec<String>,
}

/// An error as the API answers with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    pub code: Code,
    pub kind: Kind,
    pub object: Option<String>,
    pub message: String,
    #[serde(default)]
    pub hints: Vec<String>,
    /// What is wrong with a document, each thing with its place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

impl ApiError {
    /// With the code's own remedy as hint.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            kind: code.kind(),
            object: None,
            message: message.into(),
            hints: vec![code.remedy().to_owned()],
            problems: Vec::new(),
        }
    }

    /// Names the object concerned: `port web0`.
    #[must_use]
    pub fn about(mut self, object: impl Into<String>) -> Self {
        self.object = Some(object.into());
        self
    }

    /// In place of the code's own remedy.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints = vec![hint.into()];
        self
    }

    /// One error for all problems; `problems` must not be empty. A single one speaks for itself; several
    /// keep their common kind, else the whole is invalid.
    pub fn from_problems(problems: Vec<Problem>) -> Self {
        let first = &problems[0];
        if problems.len() == 1 {
            let Problem { code, kind, object, message, hints, .. } = first.clone();
            return Self { code, kind, object: Some(object), message, hints, problems };
        }
        let shared = problems.iter().all(|p| p.kind == first.kind) && first.kind != Kind::Invalid;
        let code = if shared { first.code } else { Code::InvalidDocument };
        Self {
            code,
            kind: code.kind(),
            object: None,
            message: format!("{} things are wrong; nothing was changed.", problems.len()),
            hints: vec![Code::InvalidDocument.remedy().to_owned()],
            problems,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_order_and_survive_their_text() {
        let mut last = 0;
        for &code in Code::ALL {
            assert!((code as u16) > last, "{code}");
            last = code as u16;
            assert_eq!(code.to_string().parse(), Ok(code));
            assert!(code.sentence().ends_with('.') && code.remedy().ends_with('.'), "{code}");
        }
        assert_eq!("301".parse(), Ok(Code::NoSuchObject));
        assert_eq!("fwd-e301".parse(), Ok(Code::NoSuchObject));
        assert_eq!("E999".parse::<Code>(), Err(UnknownCode("E999".into())));
    }

    #[test]
    fn the_hundreds_of_a_code_are_its_exit_code() {
        for &code in Code::ALL {
            let (hundreds, exit) = (code as u16 / 100, u16::from(code.kind().exit_code()));
            assert!(hundreds == exit || (hundreds == 0 && exit > 9), "{code}");
        }
    }

    #[test]
    fn an_error_survives_json() {
        let error = ApiError::new(Code::Exists, "Port web0 exists already.").about("port web0");
        let json = serde_json::to_value(&error).expect("serializes");
        assert_eq!(json["code"], "FWD-E401");
        assert_eq!(json["kind"], "exists");
        assert_eq!(serde_json::from_value::<ApiError>(json).expect("deserializes"), error);
    }

    #[test]
    fn several_problems_keep_a_common_kind() {
        let problem = |code: Code| Problem {
            path: String::new(),
            code,
            kind: code.kind(),
            object: "port a".into(),
            message: "Port a: no.".into(),
            hints: Vec::new(),
        };
        let kind = |codes: &[Code]| {
            let error = ApiError::from_problems(codes.iter().map(|&c| problem(c)).collect());
            (error.code, error.kind)
        };
        assert_eq!(kind(&[Code::MacClash]), (Code::MacClash, Kind::Invalid));
        assert_eq!(kind(&[Code::MacClash, Code::BadName]), (Code::InvalidDocument, Kind::Invalid));
        assert_eq!(kind(&[Code::TooMany, Code::TooMany]), (Code::TooMany, Kind::Capacity));
        assert_eq!(kind(&[Code::TooMany, Code::BadName]), (Code::InvalidDocument, Kind::Invalid));
    }
}
