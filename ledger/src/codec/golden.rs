//! Golden bytes: filled by the tests of this room.
