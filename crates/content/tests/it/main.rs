//! What other members may rely on: the vectors of the draft, round trips, refusals, and bytes that nobody should send.

mod attachment;
mod content;
mod corpus;
mod interpret;
mod vectors;
