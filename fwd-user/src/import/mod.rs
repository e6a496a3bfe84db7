//! Other programs' networks as a document of fwd's. Pure: texts in, a document and notes out.

pub mod libvirt;
