//! Names: what is read is written back as the same name.
#![no_main]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use cargomail_protocol::address::{Address, ClientId, Domain, Locator};
use libfuzzer_sys::fuzz_target;

fn stays<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    if let Ok(name) = text.parse::<T>() {
        let again = name.to_string().parse::<T>().ok();
        assert_eq!(again.as_ref(), Some(&name));
    }
}

fuzz_target!(|text: &str| {
    stays::<Domain>(text);
    stays::<Locator>(text);
    stays::<Address>(text);
    stays::<ClientId>(text);
});
