//! What is told: a table for people, a file for programs.
//!
//! A [`Book`] gathers the runs of one engine by the name of what was measured. A target is held against runs pair by pair: the
//! n-th run of the product and the n-th of its floor lay beside each other in time, so what the machine does besides falls
//! upon both, and the median of their ratios holds where neither rate does. A missed target is told and is no failure.

mod book;
mod run;
mod table;

pub(crate) use book::{Book, Bound};
pub(crate) use run::{Run, histogram, median, record};
pub(crate) use table::{json, print};
