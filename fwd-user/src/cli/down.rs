//! `fwd down`: stops the daemon and gives the host back as it was, with or without a daemon.

use clap::Args;
use serde::Serialize;

use super::{
    session::{Answered, Session},
    up::Instance,
};
use crate::{
    api::{
        answer::DaemonStatus,
        error::{ApiError, Code},
    },
    daemon,
};

#[derive(Debug, Args)]
pub struct Down {
    /// Stop the daemon only: programs go on with what they have
    #[arg(long)]
    keep_datapath: bool,
    /// Remove the state directory too
    #[arg(long)]
    purge: bool,
    #[command(flatten)]
    instance: Instance,
}

#[derive(Serialize)]
struct Query {
    keep_datapath: bool,
}

impl Down {
    pub async fn run(self, session: &Session) -> Answered {
        let said = match session.client.get("/v1/status", &()).await {
            Ok(answer) => {
                let status: DaemonStatus = serde_json::from_value(answer).map_err(|e| {
                    ApiError::new(Code::AnswerUnreadable, format!("The daemon's answer is no status: {e}."))
                })?;
                let query = Query { keep_datapath: self.keep_datapath };
                session.client.post("/v1/down", &query, &serde_json::Value::Null).await?;
                daemon::wait_for_end(&status.options.state_dir);
                "fwd is down.\n"
            }
            Err(error) if error.code == Code::NotRunning && self.keep_datapath => "fwd was not up.\n",
            Err(error) if error.code == Code::NotRunning => {
                daemon::tear_down(&self.instance.state_dir, &self.instance.bpffs).await?;
                "fwd was not up; nothing of it is left.\n"
            }
            Err(error) => return Err(error),
        };
        if self.purge {
            daemon::purge(&self.instance.state_dir)?;
        }
        session.tell(said)
    }
}
