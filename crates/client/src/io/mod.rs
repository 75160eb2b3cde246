//! What moves bytes: sockets, TLS and blob transfers of a native program.

mod blob;
pub(crate) mod native;
mod tls;
