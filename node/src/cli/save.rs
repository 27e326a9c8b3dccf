//! `cargomail save`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::{Everywhere, progress, value};
use crate::app::save::{Existing, Saved, Which};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargomail save 0192f3c1-…                       the files, into this folder
  cargomail save 0192f3c1-… scans --part 3        one part, into the folder scans
  cargomail save 0192f3c1-… --message letter.eml  the whole message, as its author wrote it
  cargomail save 0192f3c1-… --message -           the same, to standard output")]
pub(super) struct SaveArgs {
    /// Which message
    id: String,
    /// The folder; it is made if it is not there
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Only this part, counted from 1 as `cargomail read` lists them
    #[arg(long, value_name = "N", conflicts_with = "all")]
    part: Option<usize>,
    /// The bodies too, not only the files
    #[arg(long)]
    all: bool,
    /// Save the whole message as this file instead; `-` is standard output
    #[arg(long, value_name = "FILE", conflicts_with_all = ["part", "all", "folder"])]
    message: Option<PathBuf>,
    /// Replace files that are there already
    #[arg(long)]
    force: bool,
    /// How long to wait for what is still on its way
    #[arg(long, default_value = "60s", value_parser = value::duration, value_name = "TIME")]
    wait: Duration,
}

impl SaveArgs {
    pub(super) async fn run(self, everywhere: &Everywhere) -> anyhow::Result<()> {
        let app = everywhere.app()?;
        let watch = progress::bars();
        let existing = match self.force {
            true => Existing::Replace,
            false => Existing::Keep,
        };
        let opened = app.open(&self.id).await?;
        if self.message.as_deref() == Some(Path::new("-")) {
            let mut out = tokio::io::stdout();
            return Ok(app.write_message(&opened, &mut out, self.wait, &watch).await?);
        }
        let saved = match &self.message {
            Some(file) => {
                let saved = app
                    .save_message(&opened, file, existing, self.wait, &watch)
                    .await?;
                vec![saved]
            }
            None => {
                let which = match (self.part, self.all) {
                    (Some(part), _) => Which::One(part),
                    (None, true) => Which::All,
                    (None, false) => Which::Files,
                };
                app.save(&opened, which, &self.folder, existing, self.wait, &watch)
                    .await?
            }
        };
        everywhere
            .out()
            .many(&saved, "the message has no files; --all saves its bodies", line)
    }
}

fn line(saved: &Saved) -> String {
    format!("{}  {}\n", value::octets(saved.size), saved.path.display())
}
