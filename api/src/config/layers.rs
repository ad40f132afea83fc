//! The layers a value can come from, and what was said in each. The command line wins over the environment, the environment over
//! the file. An empty environment variable counts as absent.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use super::options::{Given, names};

/// Where a value was given, as its giver knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// `--wait-ms-max`
    CommandLine(&'static str),
    /// `CREDENCE_WAIT_MS_MAX`
    Environment(&'static str),
    /// `wait_ms_max` in a file.
    File(String, PathBuf),
}

impl Source {
    /// Whether it was given under this name.
    pub(super) fn is_of(&self, name: &str) -> bool {
        match self {
            Source::CommandLine(given) | Source::Environment(given) => *given == name,
            Source::File(given, _) => given == name,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::CommandLine(name) => write!(f, "--{}", name.replace('_', "-")),
            Source::Environment(name) => f.write_str(&variable(name)),
            Source::File(name, file) => write!(f, "{name} in {}", file.display()),
        }
    }
}

/// The environment variable of an option.
pub fn variable(name: &str) -> String {
    format!("CREDENCE_{}", name.to_uppercase())
}

/// A value that cannot be used. It names the option, variable or member, and never repeats the value, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{source_name}: {problem}")]
pub struct Error {
    /// Where it was given.
    pub source_name: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Error {
    /// An error of what was given there.
    pub(super) fn of(source: &Source, problem: impl fmt::Display) -> Error {
        Error { source_name: source.to_string(), problem: problem.to_string() }
    }
}

/// What was said, by name, in one layer or in all of them.
#[derive(Default)]
pub(super) struct Layers {
    layers: Vec<BTreeMap<&'static str, (Source, String)>>,
    /// What looked like a mistake but stops nothing.
    pub(super) warnings: Vec<String>,
}

impl Layers {
    /// The layers of a process, strongest first.
    pub(super) fn read(given: &[Given<'_>], environment: impl Iterator<Item = (OsString, OsString)>) -> Result<Layers, Error> {
        let command_line = given.iter().filter_map(|(name, value)| Some((*name, (Source::CommandLine(name), (*value)?.to_owned()))));
        let mut layers = Layers { layers: vec![command_line.collect()], warnings: Vec::new() };
        layers.add_environment(environment)?;
        if let Some((source, file)) = layers.get("config") {
            let file = PathBuf::from(file);
            let text =
                std::fs::read_to_string(&file).map_err(|error| Error::of(&source, format!("cannot read {}: {error}", file.display())))?;
            layers.add_file(&file, &text)?;
        }
        Ok(layers)
    }

    /// The strongest value of that name.
    pub(super) fn get(&self, name: &'static str) -> Option<(Source, String)> {
        self.layers.iter().find_map(|layer| layer.get(name).cloned())
    }

    /// The strongest value of either name; given both in one layer is an error.
    pub(super) fn either(&self, name: &'static str, other: &'static str) -> Result<Option<(Source, String)>, Error> {
        for layer in &self.layers {
            match (layer.get(name), layer.get(other)) {
                (Some((source, _)), Some((other, _))) => return Err(Error::of(source, format!("give this or {other}, not both"))),
                (Some(found), None) | (None, Some(found)) => return Ok(Some(found.clone())),
                (None, None) => {}
            }
        }
        Ok(None)
    }

    fn add_environment(&mut self, environment: impl Iterator<Item = (OsString, OsString)>) -> Result<(), Error> {
        let names = names();
        let mut layer = BTreeMap::new();
        for (variable_name, value) in environment {
            let Some(name) = variable_name.to_str().and_then(|name| name.strip_prefix("CREDENCE_")) else { continue };
            // What the tests of this repository read; no process does.
            if value.is_empty() || name.starts_with("TEST_") {
                continue;
            }
            let Some(known) = names.iter().find(|known| known.to_uppercase() == name) else {
                let nearest = names.iter().map(|known| variable(known)).max_by(|a, b| {
                    let likeness = |known: &str| strsim::jaro_winkler(known, &format!("CREDENCE_{name}"));
                    likeness(a).total_cmp(&likeness(b))
                });
                self.warnings.push(format!("CREDENCE_{name} is not known; did you mean {}?", nearest.unwrap_or_default()));
                continue;
            };
            let value = value.into_string().map_err(|_| Error::of(&Source::Environment(known), "not Unicode"))?;
            layer.insert(*known, (Source::Environment(known), value));
        }
        self.layers.push(layer);
        Ok(())
    }

    fn add_file(&mut self, file: &std::path::Path, text: &str) -> Result<(), Error> {
        let source = |name: &str| Source::File(name.to_owned(), file.to_owned());
        // The parser's own message quotes the line, which may hold a password.
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| Error::of(&source("TOML"), error.message().to_owned()))?;
        let names = names();
        let mut layer = BTreeMap::new();
        for (name, value) in table {
            let known = names.iter().find(|known| **known == name && name != "config");
            let known = known.ok_or_else(|| Error::of(&source(&name), "there is no such setting"))?;
            let value = text_of(&value).ok_or_else(|| Error::of(&source(&name), "expected a text, a whole number, true or false"))?;
            layer.insert(*known, (source(&name), value));
        }
        self.layers.push(layer);
        Ok(())
    }
}

/// A TOML value as the environment would spell it; a list becomes its items with commas between.
fn text_of(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        toml::Value::Array(items) => {
            let items: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
            Some(items?.join(","))
        }
        _ => None,
    }
}
