//! The simulator's own tests: scenarios written by hand, the log as a removed member meets it, and the same run in two processes.

mod arrangements;
mod backups;
mod clocks;
mod content;
mod found;
mod groups;
mod history;
mod identity;
mod keys;
mod later;
mod links;
mod one_history;
mod own_devices;
mod people;
mod pictures;
mod power;
mod presence;
mod receipts;
mod recovery;
mod refusals;
#[cfg(feature = "mutants")]
mod rejoin;
mod replay;
mod restored;
mod role;
mod shelf;
mod shim;
mod sleep;
#[cfg(feature = "mutants")]
mod succession;
#[cfg(feature = "mutants")]
mod succession_insiders;
mod support;
mod told;
mod typing;
mod vanishing;
mod who;
