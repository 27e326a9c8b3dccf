//! Where a report is written: as JSON alone, or as a folder that has a page for people and tables beside it.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::{Report, csv, html};

/// The name of a report in its folder.
pub const JSON: &str = "report.json";

/// Why a report is not written. Always this machine's matter.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file or folder is not there and cannot be made, or takes nothing.
    #[error("{} cannot be written", .0.display())]
    Place(PathBuf, #[source] io::Error),
}

/// The files of a report, opened before the run: that one cannot be written is known then, not after it.
#[derive(Debug)]
pub struct Files {
    /// What a person opens.
    shown: PathBuf,
    json: Opened,
    beside: Option<Beside>,
}

/// What a folder has beside the JSON.
#[derive(Debug)]
struct Beside {
    page: Opened,
    mails: Opened,
    promises: Opened,
}

/// A file that takes what is written.
#[derive(Debug)]
pub(super) struct Opened {
    path: PathBuf,
    file: File,
}

impl Files {
    /// A path that ends in `.json` is one file; any other is a folder, which is made if need be.
    ///
    /// # Errors
    /// [`WriteError::Place`] names what cannot be written.
    pub fn open(path: &Path) -> Result<Self, WriteError> {
        if path.extension().is_some_and(|extension| extension == "json") {
            return Ok(Self {
                shown: path.to_owned(),
                json: Opened::at(path.to_owned())?,
                beside: None,
            });
        }
        std::fs::create_dir_all(path).map_err(|why| WriteError::Place(path.to_owned(), why))?;
        let page = path.join("report.html");
        Ok(Self {
            shown: page.clone(),
            json: Opened::at(path.join(JSON))?,
            beside: Some(Beside {
                page: Opened::at(page)?,
                mails: Opened::at(path.join("mails.csv"))?,
                promises: Opened::at(path.join("promises.csv"))?,
            }),
        })
    }

    /// What a person opens: the page of a folder, or the JSON.
    #[must_use]
    pub fn shown(&self) -> &Path {
        &self.shown
    }

    /// Writes a report.
    ///
    /// # Errors
    /// [`WriteError::Place`] when the disk does not take it.
    pub fn write(self, report: &Report) -> Result<(), WriteError> {
        self.json
            .take(|out| Ok(serde_json::to_writer_pretty(out, report)?))?;
        if let Some(beside) = self.beside {
            beside
                .page
                .take(|out| writeln!(out, "<!DOCTYPE html>\n{}", html::page(report)))?;
            beside.mails.take(|out| csv::mails(report, out))?;
            beside.promises.take(|out| csv::promises(&report.promises, out))?;
        }
        Ok(())
    }
}

impl Opened {
    pub(super) fn at(path: PathBuf) -> Result<Self, WriteError> {
        match File::create(&path) {
            Ok(file) => Ok(Self { path, file }),
            Err(why) => Err(WriteError::Place(path, why)),
        }
    }

    pub(super) fn take(
        self,
        write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> Result<(), WriteError> {
        let mut out = BufWriter::new(self.file);
        let written = write(&mut out).and_then(|()| out.flush());
        written.map_err(|why| WriteError::Place(self.path, why))
    }
}
