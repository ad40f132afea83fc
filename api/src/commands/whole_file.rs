//! A file that has its name only once it is whole and durable. Until then it stands beside as `NAME.partial`, which the next try replaces.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// A file that is being written. Dropped before its end it is taken away.
pub(super) struct WholeFile {
    file: BufWriter<File>,
    partial: PathBuf,
    path: PathBuf,
    replace: bool,
    is_whole: bool,
}

impl WholeFile {
    /// Begins a file that will be called `path`, where nothing stands or, with `replace`, a file at most.
    ///
    /// # Errors
    /// Something else stands there, another process is at it, or the operating system's.
    pub(super) fn create(path: &Path, replace: bool) -> io::Result<WholeFile> {
        WholeFile::with_mode(path, replace, 0o666)
    }

    /// The same for a file that is its owner's alone, where nothing stands.
    ///
    /// # Errors
    /// As [`WholeFile::create`].
    pub(super) fn create_private(path: &Path) -> io::Result<WholeFile> {
        WholeFile::with_mode(path, false, 0o600)
    }

    fn with_mode(path: &Path, replace: bool, mode: u32) -> io::Result<WholeFile> {
        match fs::metadata(path) {
            Ok(there) if there.is_file() && replace => {}
            Ok(there) if there.is_file() => return Err(ErrorKind::AlreadyExists.into()),
            Ok(_) => return Err(io::Error::other("it is there and no file")),
            Err(missing) if missing.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut name = path.file_name().ok_or(ErrorKind::InvalidFilename)?.to_owned();
        name.push(".partial");
        let partial = path.with_file_name(name);
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(mode).open(&partial)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(io::Error::other("another process is writing it")),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Whoever had it before may have given it its name between the two: then what is locked is a file that is whole.
        let is_the_one = |there: fs::Metadata| file.metadata().map(|held| (held.dev(), held.ino()) == (there.dev(), there.ino()));
        if !fs::symlink_metadata(&partial).and_then(is_the_one).unwrap_or(false) {
            return Err(io::Error::other("another process has just written it"));
        }
        file.set_len(0)?;
        Ok(WholeFile { file: BufWriter::with_capacity(1 << 20, file), partial, path: path.to_owned(), replace, is_whole: false })
    }

    /// What has been written is on the disk, still without its name.
    ///
    /// # Errors
    /// The operating system's.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.flush()?;
        self.file.get_ref().sync_all()
    }

    /// Gives the file its name, once it is on the disk.
    ///
    /// # Errors
    /// Something stands there meanwhile; the operating system's.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.sync()?;
        if self.replace {
            fs::rename(&self.partial, &self.path)?;
        } else {
            // A hard link, unlike a renaming, does not replace what was written meanwhile.
            fs::hard_link(&self.partial, &self.path)?;
            fs::remove_file(&self.partial)?;
        }
        self.is_whole = true;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if !self.is_whole {
            let _ = fs::remove_file(&self.partial);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_has_its_name_once_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let mut file = WholeFile::create(&path, false).unwrap();
        file.write_all(b"whole").unwrap();
        assert_eq!(names(folder.path()), ["a.partial"]);
        assert!(WholeFile::create(&path, false).is_err(), "another is writing it");
        file.finish().unwrap();
        assert_eq!((names(folder.path()), fs::read(&path).unwrap()), (vec!["a".to_owned()], b"whole".to_vec()));
    }

    #[test]
    fn a_file_that_is_given_up_leaves_nothing_and_what_a_killed_process_left_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        WholeFile::create(&path, false).unwrap().write_all(b"half").unwrap();
        assert!(names(folder.path()).is_empty());
        fs::write(folder.path().join("a.partial"), "left by a process that was killed").unwrap();
        WholeFile::create(&path, false).unwrap().finish().unwrap();
        assert_eq!((names(folder.path()), fs::read(&path).unwrap()), (vec!["a".to_owned()], Vec::new()));
    }

    #[test]
    fn what_stands_there_is_replaced_only_when_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let begun = WholeFile::create(&path, false).unwrap();
        fs::write(&path, "first").unwrap();
        assert_eq!(begun.finish().unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(WholeFile::create(&path, false).err().unwrap().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"first");
        WholeFile::create(&path, true).unwrap().finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
        assert!(WholeFile::create(folder.path(), true).is_err(), "a folder is no file");
    }
}
