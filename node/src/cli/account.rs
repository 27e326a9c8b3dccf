//! `cargomail account`: directly in the node's records when it does not run, else through the node.

use std::path::PathBuf;
use std::sync::Arc;

use cargomail_protocol::address::Address;
use clap::{Args, Subcommand};

use super::{Everywhere, value};
use crate::accounts::Accounts;
use crate::accounts::door::AdminToken;
use crate::api::{AccountView, NewAccount, Quota};
use crate::app::World;
use crate::app::administration::Administration;
use crate::clock::{SystemClock, SystemRandomness};
use crate::config::Settings;
use crate::node;
use crate::store::{Embedded, StoreError};

#[derive(Debug, Subcommand)]
pub(super) enum AccountCommand {
    /// Make an account, or give an existing one another password, which ends its sessions
    #[command(after_help = "\
Examples:
  cargomail account add alice@foo.test
  cargomail account add bob@bar.test --quota 50G --password-file secret
  cargomail account add bob@bar.test --quota none

The node may run or not. At a Resource Mailbox of another domain, the account has the user's own address.")]
    Add(AddArgs),
    /// List the accounts
    List,
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// The user's address
    address: Address,
    /// How much the user's resources may take here, or `none`; by default a new account has no bound, and an existing one keeps its own
    #[arg(long, value_parser = value::quota, value_name = "SIZE")]
    quota: Option<Quota>,
    /// A file whose first line is the password; by default it is asked for
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// The node's store, if no process has it open.
pub(super) async fn store(settings: &Settings) -> anyhow::Result<Option<Embedded>> {
    match Embedded::open(&settings.store_folder(), settings.store.clone()).await {
        Ok(store) => Ok(Some(store)),
        Err(StoreError::Locked(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The administrator of the running node of these settings, on its own machine.
pub(super) fn administration(settings: &Settings) -> anyhow::Result<Administration> {
    let token = AdminToken::open(&settings.data)?;
    let fingerprint = node::fingerprint(&settings.data)?;
    let client = World::real()?.client();
    Ok(Administration::at(
        &client,
        settings.user.listen,
        fingerprint,
        token.text(),
    ))
}

impl AccountCommand {
    pub(super) async fn run(self, everywhere: &Everywhere) -> anyhow::Result<()> {
        let settings = everywhere.settings()?;
        match self {
            Self::Add(args) => {
                let prompt = format!("A password for {}: ", args.address);
                let password = value::password(&prompt, args.password_file.as_deref())?;
                let account = NewAccount {
                    address: args.address,
                    password: password.to_string(),
                    quota: args.quota,
                };
                let made = add(&settings, account).await?;
                everywhere
                    .out()
                    .one(&made, |made| format!("{} has an account.\n", made.address))
            }
            Self::List => {
                let all = list(&settings).await?;
                everywhere.out().many(&all, "no accounts yet", line)
            }
        }
    }
}

fn accounts(store: &Embedded) -> Accounts {
    Accounts::new(store.records(), Arc::new(SystemClock), Arc::new(SystemRandomness))
}

async fn add(settings: &Settings, account: NewAccount) -> anyhow::Result<AccountView> {
    let Some(store) = store(settings).await? else {
        return Ok(administration(settings)?.set_account(&account).await?);
    };
    let made = accounts(&store)
        .set(&account.address, &account.password, account.quota)
        .await;
    store.close().await?;
    Ok(made?.into())
}

async fn list(settings: &Settings) -> anyhow::Result<Vec<AccountView>> {
    let Some(store) = store(settings).await? else {
        return Ok(administration(settings)?.accounts().await?);
    };
    let listed = accounts(&store).list().await;
    store.close().await?;
    Ok(listed?.into_iter().map(AccountView::from).collect())
}

fn line(account: &AccountView) -> String {
    let quota = account.quota.map_or_else(|| "no quota".to_owned(), value::octets);
    format!("{}  {}  {quota}\n", account.address, account.created.rfc3339())
}
