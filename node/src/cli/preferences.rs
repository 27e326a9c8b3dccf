//! `cargomail preferences`.

use std::path::PathBuf;

use anyhow::Context;
use cargomail_protocol::address::Locator;
use cargomail_protocol::placeholder::Category;
use cargomail_protocol::routing::{Preferences, Rule, SenderPattern};
use clap::{Args, Subcommand};

use super::{Everywhere, value};

#[derive(Debug, Subcommand)]
pub(super) enum PreferencesCommand {
    /// Show where mail goes
    Show,
    /// Replace all wishes by those of a file, in TOML or JSON; `-` is standard input
    #[command(after_help = "\
Example of a file:
  default = [\"mailbox.bar.test\"]
  [[rules]]
  category = \"healthcare\"
  sender = \".hospital.test\"
  locator = \"mailbox.insurance.test\"

Example:
  cargomail preferences set wishes.toml")]
    Set {
        /// The file
        file: PathBuf,
    },
    /// Add one wish: mail like this goes to that mailbox
    #[command(after_help = "\
Examples:
  cargomail preferences add mailbox.insurance.test --category healthcare
  cargomail preferences add mailbox.large.test --at-least 1G --first
  cargomail preferences add mailbox.bar.test                          everything else goes there")]
    Add(AddArgs),
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// The Resource Mailbox
    locator: Locator,
    /// Mail of this category
    #[arg(long, value_parser = value::category)]
    category: Option<Category>,
    /// Mail from this address, from this domain, or with a dot before it from this domain and all below it
    #[arg(long, value_name = "SENDER", value_parser = sender)]
    from: Option<SenderPattern>,
    /// Mail of at least this size
    #[arg(long, value_parser = value::size, value_name = "SIZE")]
    at_least: Option<u64>,
    /// Mail of at most this size
    #[arg(long, value_parser = value::size, value_name = "SIZE")]
    at_most: Option<u64>,
    /// Before all other wishes, not behind them
    #[arg(long)]
    first: bool,
}

fn sender(text: &str) -> Result<SenderPattern, String> {
    SenderPattern::parse(text).map_err(|error| error.to_string())
}

impl PreferencesCommand {
    pub(super) async fn run(self, everywhere: &Everywhere) -> anyhow::Result<()> {
        let broker = everywhere.app()?.broker()?;
        let preferences = match self {
            Self::Show => broker.preferences().await?,
            Self::Set { file } => {
                let text = value::text_of(&file)?;
                let wished = read(&text).with_context(|| file.display().to_string())?;
                broker.set_preferences(&wished).await?
            }
            Self::Add(args) => {
                let mut wished = broker.preferences().await?;
                args.add(&mut wished);
                broker.set_preferences(&wished).await?
            }
        };
        everywhere.out().one(&preferences, people)
    }
}

/// TOML, or JSON when it begins as that does.
fn read(text: &str) -> anyhow::Result<Preferences> {
    let preferences: Preferences = match text.trim_start().starts_with('{') {
        true => serde_json::from_str(text)?,
        false => toml::from_str(text)?,
    };
    preferences.check()?;
    Ok(preferences)
}

impl AddArgs {
    fn add(self, wished: &mut Preferences) {
        let everything = self.category.is_none()
            && self.from.is_none()
            && self.at_least.is_none()
            && self.at_most.is_none();
        if everything {
            wished.default.retain(|locator| *locator != self.locator);
            let at = if self.first { 0 } else { wished.default.len() };
            wished.default.insert(at, self.locator);
            return;
        }
        let rule = Rule {
            category: self.category,
            sender: self.from,
            at_least: self.at_least,
            at_most: self.at_most,
            locator: self.locator,
        };
        wished.rules.retain(|other| *other != rule);
        let at = if self.first { 0 } else { wished.rules.len() };
        wished.rules.insert(at, rule);
    }
}

fn people(preferences: &Preferences) -> String {
    let mut text = String::new();
    for (index, rule) in preferences.rules.iter().enumerate() {
        let mut kind = Vec::new();
        kind.extend(
            rule.category
                .as_ref()
                .map(|category| format!("category {category}")),
        );
        kind.extend(rule.sender.as_ref().map(|sender| format!("from {sender}")));
        kind.extend(
            rule.at_least
                .map(|size| format!("at least {}", value::octets(size))),
        );
        kind.extend(
            rule.at_most
                .map(|size| format!("at most {}", value::octets(size))),
        );
        text.push_str(&format!(
            "rule {}: {} → {}\n",
            index + 1,
            kind.join(", "),
            rule.locator
        ));
    }
    for (index, locator) in preferences.default.iter().enumerate() {
        text.push_str(&format!("default {}: everything else → {locator}\n", index + 1));
    }
    if text.is_empty() {
        text.push_str("no wishes yet: `cargomail preferences add LOCATOR` says where mail goes\n");
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn wishes_are_read_from_toml_and_from_json_and_bad_ones_refused() {
        let toml =
            "default = [\"m.bar.test\"]\n[[rules]]\ncategory = \"healthcare\"\nlocator = \"m.ins.test\"\n";
        let wished = read(toml).unwrap();
        assert_eq!(wished.rules.len(), 1);
        assert_eq!(read(&serde_json::to_string(&wished).unwrap()).unwrap(), wished);
        assert!(read("defaults = []").is_err());
    }

    #[test]
    fn a_wish_is_added_once_and_first_when_asked() {
        let add = |first, category: Option<&str>, locator: &str| AddArgs {
            locator: Locator::parse(locator).unwrap(),
            category: category.map(|text| Category::parse(text).unwrap()),
            from: None,
            at_least: None,
            at_most: None,
            first,
        };
        let mut wished = Preferences::default();
        add(false, None, "m.bar.test").add(&mut wished);
        add(true, None, "m.foo.test").add(&mut wished);
        add(false, None, "m.bar.test").add(&mut wished);
        add(false, Some("healthcare"), "m.ins.test").add(&mut wished);
        add(false, Some("healthcare"), "m.ins.test").add(&mut wished);
        let shown = people(&wished);
        assert_eq!(
            shown,
            "rule 1: category healthcare → m.ins.test\n\
             default 1: everything else → m.foo.test\n\
             default 2: everything else → m.bar.test\n"
        );
    }
}
