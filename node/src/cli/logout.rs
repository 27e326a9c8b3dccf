//! `cargomail logout`.

use anyhow::bail;
use clap::Args;

use super::Everywhere;
use crate::app::{AppError, Profile, Session, Url, World};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargomail logout
  cargomail logout --url https://mail.foo.test

It ends the session of this profile; those of other devices go on. All sessions of an account end when whoever runs the node gives it
another password with `cargomail account add`.")]
pub(super) struct LogoutArgs {
    /// Where the node is, as it was given to `cargomail login`; by default, all nodes of the profile
    #[arg(long)]
    url: Option<Url>,
}

impl LogoutArgs {
    pub(super) async fn run(self, everywhere: &Everywhere) -> anyhow::Result<()> {
        let file = everywhere.profile_file()?;
        let mut profile = Profile::open(&file)?;
        let mut sessions = profile.sessions();
        if let Some(url) = &self.url {
            sessions.retain(|access| access.url == *url);
            if sessions.is_empty() {
                bail!("the profile {} has no session at {url}", file.display());
            }
        }
        let client = World::real()?.client();
        let mut ended = Vec::new();
        for access in sessions {
            match Session::open(&client, &access).log_out().await {
                // One that the node does not know any more is only removed.
                Ok(()) | Err(AppError::Said { status: 401, .. }) => {}
                Err(error) => return Err(error.into()),
            }
            profile.forget(&access);
            profile.save(&file)?;
            ended.push(access.url);
        }
        everywhere
            .out()
            .many(&ended, "no sessions in the profile", |url| {
                format!("The session at {url} has ended.\n")
            })
    }
}
