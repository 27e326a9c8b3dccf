//! `cargomail bench import`: a file becomes a resource of a fresh store.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use tokio::fs::File;

use super::figures::{Noise, Runs};
use super::scratch::Scratch;
use crate::cli::{Everywhere, progress, value};
use crate::mailbox;
use crate::store::{Embedded, EmbeddedOptions};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargomail bench import
  cargomail bench import scan.tiff
  cargomail bench import --size 4G --runs 5 --folder /srv/disk --json

Compare it with what the machine can do at all, on the same disk: cp FILE COPY; sha256sum FILE; sync COPY.
The file is read once beforehand, so that reading it is in no figure.")]
pub(in crate::cli) struct ImportArgs {
    /// The file; without it, one of noise is made
    file: Option<PathBuf>,
    /// How large the file of noise is
    #[arg(long, value_parser = value::size, default_value = "1G", conflicts_with = "file")]
    size: u64,
    /// How often
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// The folder, on the disk that is measured, below which everything is written [default: the folder for temporary files]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Report {
    benchmark: &'static str,
    octets: u64,
    cid: String,
    seconds: Runs,
    octets_per_second: f64,
}

impl ImportArgs {
    pub(super) async fn run(self, everywhere: &Everywhere) -> anyhow::Result<()> {
        let scratch = Scratch::below(self.folder.as_deref())?;
        let watch = progress::bars();
        let file = match &self.file {
            Some(file) => file.clone(),
            None => {
                let file = scratch.path().join("noise");
                watch.begin("making noise", self.size);
                let mut to = File::create(&file).await?;
                tokio::io::copy(&mut Noise::new(0, self.size), &mut to).await?;
                to.sync_all().await?;
                watch.end();
                file
            }
        };
        let failed = || format!("{} cannot be read", file.display());
        let octets = tokio::fs::metadata(&file).await.with_context(failed)?.len();
        let mut read = File::open(&file).await.with_context(failed)?;
        tokio::io::copy(&mut read, &mut tokio::io::sink())
            .await
            .with_context(failed)?;
        let mut runs = Vec::new();
        let mut cid = String::new();
        for run in 0..self.runs.max(1) {
            let folder = scratch.path().join(format!("store-{run}"));
            let store = Embedded::open(&folder, EmbeddedOptions::default()).await?;
            watch.begin(&format!("run {} of {}", run + 1, self.runs.max(1)), octets);
            let begun = Instant::now();
            let imported = mailbox::import_file(store.blocks(), &file, &*watch).await?;
            runs.push(begun.elapsed().as_secs_f64());
            watch.end();
            cid = imported.root.to_string();
            store.close().await?;
            std::fs::remove_dir_all(&folder)?;
        }
        let seconds = Runs::of(runs);
        let report = Report {
            benchmark: "import",
            octets,
            cid,
            octets_per_second: seconds.rate(octets),
            seconds,
        };
        everywhere.out().one(&report, |report| {
            format!(
                "import of {}: {}, {}/s\n",
                value::octets(report.octets),
                report.seconds.text(),
                value::octets(report.octets_per_second as u64)
            )
        })
    }
}
