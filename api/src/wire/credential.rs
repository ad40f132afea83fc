//! A credential, as it is asked for and answered.
