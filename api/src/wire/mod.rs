//! What is said outside: JSON of requests and answers. These types are never stored, and stored types are never said.

pub mod account;
pub mod credential;
pub mod erasure;
pub mod event;
pub mod export;
pub mod issuer;
pub mod key;
pub mod projection;
pub mod proof;
pub mod verdict;
pub mod worker;
