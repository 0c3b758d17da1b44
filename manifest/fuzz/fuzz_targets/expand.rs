//! Any text is expanded, or refused; what is expanded in two steps comes out as in one.

#![no_main]

use libfuzzer_sys::fuzz_target;
use slipway_manifest::{
    dotenv,
    expand::{self, Template},
};

fuzz_target!(|text: &str| {
    let lookup = |name: &str| match name {
        "A" => Some("a$b${c}".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    };
    let whole = expand::expand(text, &lookup);
    let _ = expand::variables(text);
    if let Ok((template, _)) = Template::expand_now(text, &lookup, &|name| name == "A") {
        template.check().expect("a template is one");
        let later = template.expand(&lookup).expect("a template expands");
        assert_eq!(Some(later.text), whole.ok().map(|whole| whole.text), "{template:?}");
    }
    if let Ok(pairs) = dotenv::parse(text, &lookup) {
        let written = dotenv::write_dotenv(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        if let Ok(written) = written {
            assert_eq!(dotenv::parse(&written, &|_| None).as_ref(), Ok(&pairs), "{written}");
        }
    }
});
