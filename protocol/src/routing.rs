//! Routing: which Resource Mailbox receives the resources of a mail, by its category, sender and size and by what the
//! recipient wishes; `spec/routing.md` is the specification.
//!
//! Not here: asking the destinations. What always holds: the choices come in the order of the wishes, each locator once,
//! and each says which wish decided.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::address::{Address, Domain, Locator};
use crate::fault::{Fault, Faulty};
use crate::limits;
use crate::placeholder::Category;

/// Why preferences were refused. Always the fault of whoever wrote them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoutingError {
    /// More rules or defaults than [`limits::ROUTES`].
    #[error("more than {} rules or defaults", limits::ROUTES)]
    TooMany,
    /// A sender is neither an address nor a domain.
    #[error("{0:?} is neither an address, a domain, nor a domain with a dot before it")]
    Sender(String),
}

impl Faulty for RoutingError {
    fn fault(&self) -> Fault {
        match self {
            RoutingError::TooMany => Fault::TooLarge,
            RoutingError::Sender(_) => Fault::Malformed,
        }
    }
}

/// Whose mail a rule is for. In text form `alice@foo.com`, `foo.com`, or `.foo.com` for the domain and all below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SenderPattern {
    /// One person.
    Person(Address),
    /// Everybody of one domain.
    Domain(Domain),
    /// Everybody of a domain and of those below it.
    Below(Domain),
}

impl SenderPattern {
    /// Reads the text form.
    ///
    /// # Errors
    /// [`RoutingError::Sender`].
    pub fn parse(text: &str) -> Result<Self, RoutingError> {
        let refuse = |_| RoutingError::Sender(text.chars().take(128).collect());
        if text.contains('@') {
            return Address::parse(text).map(Self::Person).map_err(refuse);
        }
        match text.strip_prefix('.') {
            Some(domain) => Domain::parse(domain).map(Self::Below).map_err(refuse),
            None => Domain::parse(text).map(Self::Domain).map_err(refuse),
        }
    }

    /// Whether it means this sender.
    #[must_use]
    pub fn matches(&self, sender: &Address) -> bool {
        match self {
            SenderPattern::Person(person) => person == sender,
            SenderPattern::Domain(domain) => domain == sender.domain(),
            SenderPattern::Below(domain) => sender.domain().is_or_is_below(domain),
        }
    }
}

impl fmt::Display for SenderPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SenderPattern::Person(person) => write!(f, "{person}"),
            SenderPattern::Domain(domain) => write!(f, "{domain}"),
            SenderPattern::Below(domain) => write!(f, ".{domain}"),
        }
    }
}

impl TryFrom<String> for SenderPattern {
    type Error = RoutingError;
    fn try_from(text: String) -> Result<Self, RoutingError> {
        Self::parse(&text)
    }
}

impl From<SenderPattern> for String {
    fn from(pattern: SenderPattern) -> String {
        pattern.to_string()
    }
}

/// One wish: mail like this goes there. What is left out matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The category of the correspondence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<Category>,
    /// Whose mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<SenderPattern>,
    /// All resources of the mail together have at least so many octets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<u64>,
    /// All resources of the mail together have at most so many octets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<u64>,
    /// Where they go.
    pub locator: Locator,
}

/// What is known of a mail when it is routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts<'a> {
    /// The category of the correspondence.
    pub category: &'a Category,
    /// Who sent it.
    pub sender: &'a Address,
    /// Octets of all its resources together.
    pub size: u64,
}

impl Rule {
    /// Whether the rule is for such a mail.
    #[must_use]
    pub fn matches(&self, facts: &Facts<'_>) -> bool {
        self.category
            .as_ref()
            .is_none_or(|category| category == facts.category)
            && self
                .sender
                .as_ref()
                .is_none_or(|sender| sender.matches(facts.sender))
            && self.at_least.is_none_or(|least| facts.size >= least)
            && self.at_most.is_none_or(|most| facts.size <= most)
    }
}

/// What a user wishes: rules in order, then the defaults in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preferences {
    /// The rules; the first that matches comes first.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// Where everything else goes, and where it goes when no destination of a rule takes it.
    #[serde(default)]
    pub default: Vec<Locator>,
}

/// Which wish decided, for the log and the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// The rule with this index, counted from 0.
    Rule(usize),
    /// The default with this index, counted from 0.
    Default(usize),
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Decision::Rule(index) => write!(f, "rule {}", index + 1),
            Decision::Default(index) => write!(f, "default {}", index + 1),
        }
    }
}

/// A destination to try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The Resource Mailbox.
    pub locator: Locator,
    /// Why.
    pub decided_by: Decision,
}

impl Preferences {
    /// Checks the bounds.
    ///
    /// # Errors
    /// [`RoutingError::TooMany`].
    pub fn check(&self) -> Result<(), RoutingError> {
        if self.rules.len() > limits::ROUTES || self.default.len() > limits::ROUTES {
            return Err(RoutingError::TooMany);
        }
        Ok(())
    }

    /// The destinations to try, in order, each once; empty when the user has none.
    #[must_use]
    pub fn choices(&self, facts: &Facts<'_>) -> Vec<Choice> {
        let rules = self
            .rules
            .iter()
            .enumerate()
            .filter(|(_, rule)| rule.matches(facts))
            .map(|(index, rule)| (&rule.locator, Decision::Rule(index)));
        let defaults = self
            .default
            .iter()
            .enumerate()
            .map(|(index, locator)| (locator, Decision::Default(index)));
        let mut choices: Vec<Choice> = Vec::new();
        for (locator, decided_by) in rules.chain(defaults) {
            if !choices.iter().any(|choice| choice.locator == *locator) {
                let locator = locator.clone();
                choices.push(Choice { locator, decided_by });
            }
        }
        choices
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rule(category: Option<&str>, sender: Option<&str>, locator: &str) -> Rule {
        Rule {
            category: category.map(|text| Category::parse(text).unwrap()),
            sender: sender.map(|text| SenderPattern::parse(text).unwrap()),
            at_least: None,
            at_most: None,
            locator: Locator::parse(locator).unwrap(),
        }
    }

    fn chosen(preferences: &Preferences, category: &str, sender: &str, size: u64) -> Vec<String> {
        let facts = Facts {
            category: &Category::parse(category).unwrap(),
            sender: &Address::parse(sender).unwrap(),
            size,
        };
        let shown = |choice: Choice| format!("{} by {}", choice.locator, choice.decided_by);
        preferences.choices(&facts).into_iter().map(shown).collect()
    }

    #[test]
    fn the_first_matching_rule_comes_first_and_each_mailbox_once() {
        let preferences = Preferences {
            rules: vec![
                rule(Some("healthcare"), None, "mailbox.insurance.test"),
                rule(None, Some(".hospital.test"), "mailbox.hospital.test"),
                rule(Some("healthcare"), Some("foo.test"), "mailbox.bar.test"),
            ],
            default: vec![
                Locator::parse("mailbox.bar.test").unwrap(),
                Locator::parse("mailbox.insurance.test").unwrap(),
            ],
        };
        assert_eq!(
            chosen(&preferences, "healthcare", "alice@foo.test", 1),
            ["mailbox.insurance.test by rule 1", "mailbox.bar.test by rule 3"]
        );
        assert_eq!(
            chosen(&preferences, "personal", "nurse@ward.hospital.test", 1),
            [
                "mailbox.hospital.test by rule 2",
                "mailbox.bar.test by default 1",
                "mailbox.insurance.test by default 2"
            ]
        );
        assert!(chosen(&Preferences::default(), "personal", "alice@foo.test", 1).is_empty());
    }

    #[test]
    fn size_bounds_are_inclusive_and_senders_compare_label_by_label() {
        let mut large = rule(None, Some("foo.test"), "mailbox.large.test");
        large.at_least = Some(10);
        large.at_most = Some(20);
        let preferences = Preferences {
            rules: vec![large],
            default: Vec::new(),
        };
        for (size, found) in [(9, 0), (10, 1), (20, 1), (21, 0)] {
            assert_eq!(
                chosen(&preferences, "personal", "alice@foo.test", size).len(),
                found,
                "{size}"
            );
        }
        assert!(chosen(&preferences, "personal", "alice@evilfoo.test", 15).is_empty());
        assert!(chosen(&preferences, "personal", "alice@mail.foo.test", 15).is_empty());
    }

    #[test]
    fn preferences_are_read_back_and_bounded() {
        let text = r#"{"rules":[{"category":"healthcare","sender":".foo.test","locator":"m.bar.test"}],"default":[]}"#;
        let preferences: Preferences = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&preferences).unwrap(), text);
        assert!(serde_json::from_str::<Preferences>(r#"{"rules":[],"defaults":[]}"#).is_err());
        let many = Preferences {
            rules: vec![rule(None, None, "m.bar.test"); limits::ROUTES + 1],
            default: Vec::new(),
        };
        assert_eq!(many.check(), Err(RoutingError::TooMany));
    }
}
