//! Floors: what this machine does when nothing of ours is in the way, with the same libraries, the same durability and the
//! same amount of data. What the product does beyond a floor, checking, hashing, sealing, proving, shows as the distance to it.

pub(crate) mod commit;
pub(crate) mod handler;
pub(crate) mod scan;
