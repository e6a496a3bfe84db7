//! The verbs that all configured objects share: add, list, show, set, delete.

use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    args::{Delete, WriteArgs},
    session::{Answered, Session},
    view::{self, Column},
};
use crate::api::{object::Noun, request::WriteQuery};

/// A kind of configured object as the CLI shows it.
#[derive(Clone, Copy, Debug)]
pub struct Verbs {
    pub noun: Noun,
    pub columns: &'static [Column],
}

/// An object to be added.
#[derive(Debug)]
pub struct Added<'a, T> {
    pub object: &'a T,
    pub may_exist: bool,
}

/// The fields that a `set` changes.
#[derive(Debug, Default)]
pub struct Patch(Map<String, Value>);

impl Patch {
    /// Changes a field, if a value was given.
    #[must_use]
    pub fn field<T: Serialize>(mut self, name: &str, value: Option<T>) -> Self {
        if let Some(value) = value {
            let value = serde_json::to_value(value).expect("options are plain data");
            self.0.insert(name.to_owned(), value);
        }
        self
    }
}

impl Verbs {
    pub async fn add<T: Serialize + Sync>(
        self,
        session: &Session,
        added: Added<'_, T>,
        write: &WriteArgs,
    ) -> Answered {
        let body = serde_json::to_value(added.object).expect("objects are plain data");
        let query = WriteQuery { may_exist: added.may_exist, ..write.query() };
        let answer = session.client.post(&self.path(None), &query, &body).await?;
        session.written(&answer, "added")
    }

    pub async fn list(self, session: &Session) -> Answered {
        self.list_by(session, &()).await
    }

    /// With options of the kind's own.
    pub async fn list_by<Q: Serialize + Sync>(self, session: &Session, query: &Q) -> Answered {
        let answer = session.client.get(&self.path(None), query).await?;
        session.print(&view::list(&answer, self.columns, session.format))
    }

    pub async fn show(self, session: &Session, name: &str) -> Answered {
        let answer = session.client.get(&self.path(Some(name)), &()).await?;
        let name_field = if self.noun == Noun::Uplink { "device" } else { "name" };
        session.print(&view::show(&answer, name_field, session.format))
    }

    pub async fn set(self, session: &Session, name: &str, patch: Patch, write: &WriteArgs) -> Answered {
        let path = self.path(Some(name));
        let answer = session.client.patch(&path, &write.query(), &Value::Object(patch.0)).await?;
        session.written(&answer, "changed")
    }

    pub async fn delete(self, session: &Session, delete: &Delete) -> Answered {
        let query = WriteQuery { if_exists: delete.if_exists, ..delete.write.query() };
        let answer = session.client.delete(&self.path(Some(&delete.name)), &query).await?;
        session.written(&answer, "deleted")
    }

    pub fn path(self, name: Option<&str>) -> String {
        match name {
            Some(name) => format!("/v1/{}/{}", self.noun.list(), crate::api::client::escape(name)),
            None => format!("/v1/{}", self.noun.list()),
        }
    }
}

impl WriteArgs {
    /// The options as the API takes them.
    pub fn query(&self) -> WriteQuery {
        WriteQuery {
            dry_run: self.dry_run,
            if_revision: self.if_revision,
            existing: self.existing,
            wait: self.wait,
            ..WriteQuery::default()
        }
    }
}
