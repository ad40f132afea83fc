//! A verdict, as it is asked for and answered.
