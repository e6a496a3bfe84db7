//! The datapath and its daemon among real interfaces, in namespaces of the test's own.

mod datapath;
mod host;
