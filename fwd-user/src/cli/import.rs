//! `fwd import`: another program's network as a document; needs no daemon.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};

use super::{
    session::{Answered, Session},
    view::{self, Format},
};
use crate::{
    api::error::{ApiError, Code},
    import::libvirt::import,
};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Print a network of libvirt's and its running domains as a document, for `fwd config apply -f -`
    Libvirt(Libvirt),
}

#[derive(Debug, Args)]
pub struct Libvirt {
    /// The network, as `virsh net-list` has it
    network: String,
    /// By which interface it goes out, where libvirt leaves that open
    #[arg(long, value_name = "DEVICE")]
    uplink: Option<String>,
    /// Where libvirt keeps the state of what runs
    #[arg(long, value_name = "DIR", default_value = "/run/libvirt")]
    run_dir: PathBuf,
    /// Where it keeps what is defined
    #[arg(long, value_name = "DIR", default_value = "/etc/libvirt")]
    config_dir: PathBuf,
}

impl Verb {
    pub fn run(self, session: &Session) -> Answered {
        match self {
            Self::Libvirt(libvirt) => libvirt.run(session),
        }
    }
}

impl Libvirt {
    fn run(self, session: &Session) -> Answered {
        let (path, network) = self.network_xml()?;
        let domains = read_all(&self.run_dir.join("qemu"))?;
        let imported = import(&network, &domains, self.uplink.as_deref()).map_err(|why| {
            let message = format!("The network of {} cannot be imported: {why}.", path.display());
            ApiError::new(Code::BadValue, message).about(format!("network {}", self.network))
        })?;
        if !session.quiet {
            imported.notes.iter().for_each(|note| eprintln!("note: {note}"));
        }
        let document = serde_json::to_value(&imported.document).expect("a document is plain data");
        session.print(&match session.format {
            Format::Json => view::json(&document),
            _ => view::yaml(&document),
        })
    }

    /// What runs, else what is defined.
    fn network_xml(&self) -> Result<(PathBuf, String), ApiError> {
        let file = format!("{}.xml", self.network);
        let running = self.run_dir.join("network").join(&file);
        let defined = self.config_dir.join("qemu/networks").join(&file);
        for path in [running, defined] {
            if let Some(text) = read(&path)? {
                return Ok((path, text));
            }
        }
        let message = format!("libvirt has no network {} here.", self.network);
        Err(ApiError::new(Code::NoSuchObject, message).hint("List them: virsh net-list --all."))
    }
}

/// The text of every XML file of a directory, which need not be there, in the order of their names.
fn read_all(folder: &Path) -> Result<Vec<String>, ApiError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(folder, &error)),
    };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "xml"));
    paths.sort();
    let texts: Result<Vec<_>, _> = paths.iter().map(|path| read(path)).collect();
    Ok(texts?.into_iter().flatten().collect())
}

/// None where there is no file.
fn read(path: &Path) -> Result<Option<String>, ApiError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path, &error)),
    }
}

fn failed(path: &Path, error: &io::Error) -> ApiError {
    let code = if error.kind() == io::ErrorKind::PermissionDenied { Code::Denied } else { Code::IoFailed };
    ApiError::new(code, format!("{} cannot be read: {error}.", path.display()))
}
