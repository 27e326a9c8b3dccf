//! `cargomail login`.

use std::path::PathBuf;

use anyhow::bail;
use cargomail_protocol::address::Address;
use clap::Args;

use super::{Everywhere, value};
use crate::app::profile::Fingerprint;
use crate::app::{Profile, Session, Url, World};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargomail login alice@foo.test --url https://127.0.0.1:8443 --fingerprint 3f…c1
  cargomail login alice@foo.test --url https://mail.foo.test --password-file secret

Log in once at each node: at the broker of the address's domain, and at each Resource Mailbox.")]
pub(super) struct LoginArgs {
    /// The user's address
    address: Address,
    /// Where the node is, as https://node.example.test:8443
    #[arg(long)]
    url: Url,
    /// The node's fingerprint, which `cargomail run` prints; without it the node needs a certificate that browsers accept
    #[arg(long, value_name = "HEX")]
    fingerprint: Option<Fingerprint>,
    /// What stands before the address in From
    #[arg(long)]
    name: Option<String>,
    /// A file whose first line is the password; by default it is asked for
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl LoginArgs {
    pub(super) async fn run(self, everywhere: &Everywhere) -> anyhow::Result<()> {
        let file = everywhere.profile_file()?;
        let mut profile = match file.exists() {
            true => Profile::open(&file)?,
            false => Profile::new(self.address.clone()),
        };
        if profile.address != self.address {
            bail!(
                "{} is the profile of {}: name another file with --profile",
                file.display(),
                profile.address
            );
        }
        let prompt = format!("Password of {} at {}: ", self.address, self.url);
        let password = value::password(&prompt, self.password_file.as_deref())?;
        let client = World::real()?.client();
        let access = Session::log_in(&client, &self.url, self.fingerprint, &self.address, &password).await?;
        let me = Session::open(&client, &access).me().await?;
        if let Some(locator) = me.mailbox.clone() {
            profile.set_mailbox(locator, access.clone());
        }
        if me.broker.as_ref() == Some(self.address.domain()) {
            profile.broker = Some(access);
        }
        if self.name.is_some() {
            profile.name = self.name;
        }
        profile.save(&file)?;
        everywhere.out().one(&me, |me| {
            let mut text = format!(
                "{} is logged in; the profile is {}.\n",
                me.address,
                file.display()
            );
            if let Some(locator) = &me.mailbox {
                text.push_str(&format!("  Resource Mailbox {locator}\n"));
            }
            if let Some(domain) = &me.broker {
                text.push_str(&format!("  Cargo Broker of {domain}\n"));
            }
            text
        })
    }
}
