//! `fwd explain`: what an error code or a drop reason means, and what to do.

use fwd_common::drop::DropReason;
use serde_json::json;

use super::{
    session::{Answered, Session},
    view,
};
use crate::api::{
    error::{ApiError, Code},
    spec::API,
};

#[derive(Debug, clap::Args)]
pub struct Explain {
    /// As FWD-E301; or a drop reason's name
    code: String,
}

impl Explain {
    pub fn run(self, session: &Session) -> Answered {
        let (code, exit_code, sentence, remedy) = match (self.code.parse::<Code>(), self.reason()) {
            (Ok(code), _) => {
                (code.to_string(), Some(code.kind().exit_code()), code.sentence(), code.remedy())
            }
            (Err(_), Some(reason)) => (reason.name().to_owned(), None, reason.sentence(), reason.remedy()),
            (Err(error), None) => {
                let message = format!("{error}, and no drop reason has that name.");
                return Err(ApiError::new(Code::NoSuchCode, message)
                    .about(self.code)
                    .hint("Codes look like FWD-E301; list drop reasons with fwd drop reasons."));
            }
        };
        let answer = json!({"api": API, "kind": "code", "code": code, "exit_code": exit_code,
            "meaning": sentence, "remedy": remedy});
        session.print(&view::show(&answer, "code", session.format))
    }

    fn reason(&self) -> Option<DropReason> {
        DropReason::from_name(&self.code)
    }
}
