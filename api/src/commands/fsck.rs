//! `credence fsck`.
