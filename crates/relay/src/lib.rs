//! `transomd`, the relay: a [`core`] that decides everything and names no socket, and the server around it.

pub mod config;
pub mod core;
pub mod http;
pub mod tls;
