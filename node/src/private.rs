//! Folders that only their owner may enter: mail lies in them, and what a file in them is readable for does not matter then.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

/// The mode of a folder that only its owner may enter.
const OWNER: u32 = 0o700;

/// Makes a folder, and those above it that are missing, for its owner only. One that is there already stays as it is.
///
/// # Errors
/// Those of the operating system.
pub(crate) fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(OWNER).create(folder)
}

/// The same, and one that is there already is closed to others, with a line in the log.
///
/// # Errors
/// Those of the operating system; the text of one says what to do when others may enter and that cannot be changed.
pub(crate) fn make_closed(folder: &Path) -> io::Result<()> {
    make(folder)?;
    let mode = std::fs::metadata(folder)?.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    std::fs::set_permissions(folder, Permissions::from_mode(OWNER)).map_err(|why| {
        let text = format!("others may enter this folder (mode {mode:o}): {why}; chmod 700 it");
        io::Error::new(why.kind(), text)
    })?;
    tracing::warn!(folder = %folder.display(), mode = format!("{mode:o}"), "others could enter this folder; it is closed to them now");
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn mode(folder: &Path) -> u32 {
        std::fs::metadata(folder).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_folder_that_is_made_is_its_owners_and_one_that_is_there_stays_as_it_is() {
        let temporary = tempfile::tempdir().unwrap();
        let (outer, inner) = (temporary.path().join("a"), temporary.path().join("a/b"));
        make(&inner).unwrap();
        assert_eq!((mode(&outer), mode(&inner)), (0o700, 0o700));
        std::fs::set_permissions(&inner, Permissions::from_mode(0o755)).unwrap();
        make(&inner).unwrap();
        assert_eq!(mode(&inner), 0o755);
    }

    #[test]
    fn a_folder_that_others_may_enter_is_closed_to_them() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("store");
        make(&folder).unwrap();
        for open in [0o755, 0o750, 0o701] {
            std::fs::set_permissions(&folder, Permissions::from_mode(open)).unwrap();
            make_closed(&folder).unwrap();
            assert_eq!(mode(&folder), 0o700, "{open:o}");
        }
        std::fs::write(folder.join("file"), "").unwrap();
        assert!(make_closed(&folder.join("file")).is_err());
    }
}
