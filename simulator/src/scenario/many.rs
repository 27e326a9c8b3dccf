//! Scenarios that are too large to be written by hand.

use super::check::CONCURRENT;

/// A scenario of many domains, each broker and mailbox of so many people, who write so many mails to each other: one recipient each, and
/// mostly a small file.
#[must_use]
pub fn of_many(domains: usize, people: usize, mails: usize) -> String {
    let of = |domain: usize| {
        let people = (1..=people).map(move |person| format!("\"p{person}@d{domain}.test\""));
        people.collect::<Vec<_>>().join(", ")
    };
    let everybody: Vec<String> = (1..=domains).map(of).collect();
    let everybody = everybody.join(",\n    ");
    let mut text = format!(
        "description = \"{domains} domains with {people} people each, who write {mails} mails to each other\"\n\
         seed = 1\npatience = 3600\nconcurrent = {CONCURRENT}\n"
    );
    for domain in 1..=domains {
        text += &format!(
            "\n[[sites]]\nname = \"d{domain}.test\"\nbroker = true\nmailbox = true\npeople = [{}]\n",
            of(domain)
        );
    }
    text + &format!(
        "\n[[traffic]]\ncount = {mails}\nfrom = [\n    {everybody},\n]\nto = [\n    {everybody},\n]\n\
         category = \"personal\"\nfiles = [0, 1]\nsizes = [\"2 KiB\", \"40 KiB\"]\n\
         channels = {{ web = 3, smtp = 1 }}\n"
    )
}
